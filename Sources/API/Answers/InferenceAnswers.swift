internal import Adapters
internal import HTTPWire
internal import Serving

/// Answers of inference as JSON or raw tensors.
enum InferenceAnswers {
  /// `POST /adapters/{task}/infer`.
  static func json(
    _ result: InferenceResult, task: String, topK: Int?, encoding: EmbeddingEncoding
  ) -> [UInt8] {
    let first = result.answers.first
    return JSONWriter.object { writer in
      writer.member("task", task)
      writer.member("version", first?.version)
      writer.member("subspace", first?.subspace)
      if first?.kind == .embedding {
        writer.member("encoding", encoding.rawValue)
        writer.member("dimensions", first.map { tensor($0).count } ?? 0)
        writer.name("embeddings")
        writer.array(result.answers) { embedding(&$0, $1, encoding) }
      } else {
        writer.name("predictions")
        writer.array(result.answers) { prediction(&$0, $1, topK) }
      }
      closing(&writer, result)
    }
  }

  /// `POST /infer`.
  static func json(
    _ result: InferenceResult, items: [InferenceItem], encoding: EmbeddingEncoding
  ) -> [UInt8] {
    JSONWriter.object { writer in
      writer.name("results")
      writer.array(zip(result.answers, items)) { writer, pair in
        let (answer, item) = pair
        writer.object {
          $0.member("task", answer.task)
          $0.member("version", answer.version)
          $0.member("subspace", answer.subspace)
          if answer.kind == .embedding {
            $0.member("encoding", encoding.rawValue)
            $0.name("embedding")
            embedding(&$0, answer, encoding)
          } else {
            $0.name("prediction")
            prediction(&$0, answer, item.options.topK)
          }
        }
      }
      closing(&writer, result)
    }
  }

  /// The outputs of all rows in a row-major float32 tensor: embeddings, scores in the labels' order, or values.
  static func raw(_ result: InferenceResult) -> HTTPResponse {
    var bytes: [UInt8] = []
    for answer in result.answers { FloatBytes.append(tensor(answer), to: &bytes) }
    let width = result.answers.first.map { tensor($0).count } ?? 0
    var fields = [
      ("Content-Type", MediaTypes.octets), ("X-Tensor-Shape", "\(result.answers.count),\(width)"),
      ("X-Tensor-Type", "float32"),
    ]
    if let version = result.answers.first?.version { fields.append(("X-Task-Version", String(version))) }
    return HTTPResponse(status: 200, fields: fields, body: .bytes(bytes))
  }

  private static func tensor(_ answer: InferenceAnswer) -> [Float] {
    switch answer.prediction {
    case .classification(let scores), .multilabel(let scores, _): scores
    case .regression(let value): [value]
    case .embedding(let vector): vector
    }
  }

  private static func embedding(
    _ writer: inout JSONWriter, _ answer: InferenceAnswer, _ encoding: EmbeddingEncoding
  ) {
    switch encoding {
    case .float: writer.floats(tensor(answer))
    case .base64: writer.value(FloatBytes.base64(FloatBytes.littleEndian(tensor(answer))))
    }
  }

  private static func prediction(_ writer: inout JSONWriter, _ answer: InferenceAnswer, _ topK: Int?) {
    writer.object { writer in
      switch answer.prediction {
      case .classification(let scores):
        let order = best(scores, topK)
        if let first = order.first {
          writer.member("label", answer.labels[first])
          writer.member("score", scores[first])
        }
        self.scores(&writer, answer.labels, scores, order)
      case .multilabel(let scores, let chosen):
        writer.member("labels", chosen.map { answer.labels[$0] })
        self.scores(&writer, answer.labels, scores, best(scores, topK))
      case .regression(let value): writer.member("value", value)
      case .embedding: break
      }
    }
  }

  private static func scores(
    _ writer: inout JSONWriter, _ labels: [String], _ scores: [Float], _ order: [Int]
  ) {
    writer.name("scores")
    writer.array(order) { writer, index in
      writer.object {
        $0.member("label", labels[index])
        $0.member("score", scores[index])
      }
    }
  }

  /// Indices by falling score, the first label among equals.
  static func best(_ scores: [Float], _ count: Int?) -> [Int] {
    var order = Array(scores.indices)
    order.sort { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
    return count.map { Array(order.prefix($0)) } ?? order
  }

  private static func closing(_ writer: inout JSONWriter, _ result: InferenceResult) {
    writer.name("usage")
    writer.object {
      $0.member("inputs", result.answers.count)
      $0.member("tokens", result.answers.reduce(0) { $0 + $1.tokens })
      $0.member("truncated", result.answers.count { $0.truncated })
    }
    writer.name("timing")
    writer.object {
      $0.member("queue_ms", rounded(result.queueMilliseconds))
      $0.member("compute_ms", rounded(result.computeMilliseconds))
    }
  }

  private static func rounded(_ milliseconds: Double) -> Double { (milliseconds * 1_000).rounded() / 1_000 }
}
