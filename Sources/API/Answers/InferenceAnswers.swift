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
    let scores = min(topK ?? .max, first?.labels.count ?? 0)
    var writer = JSONWriter(reserving: min(512 + result.answers.count * 48 * (scores + 1), 1 << 20))
    writer.object { writer in
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
        var predictions = PredictionWriter()
        writer.array(result.answers) { predictions.write($1, topK, to: &$0) }
      }
      closing(&writer, result)
    }
    return writer.bytes
  }

  /// `POST /infer`.
  static func json(
    _ result: InferenceResult, items: [InferenceItem], encoding: EmbeddingEncoding
  ) -> [UInt8] {
    JSONWriter.object { writer in
      writer.name("results")
      var predictions = PredictionWriter()
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
            predictions.write(answer, item.options.topK, to: &$0)
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

/// Writes predictions one after the other; what they share (the labels as JSON) is made once.
struct PredictionWriter {
  private var last: InferenceAnswer?
  /// By label: `{"label":"…","score":`
  private var starts: [[UInt8]] = []
  private var order: [Int] = []

  mutating func write(_ answer: InferenceAnswer, _ topK: Int?, to writer: inout JSONWriter) {
    switch answer.prediction {
    case .classification(let scores):
      prepare(answer)
      sort(scores, topK)
      guard let first = order.first else { return writer.object { list(scores, to: &$0) } }
      writer.begin(starts[first])
      writer.value(scores[first])
      list(scores, to: &writer)
      writer.end()
    case .multilabel(let scores, let chosen):
      prepare(answer)
      sort(scores, topK)
      writer.object { writer in
        writer.member("labels", chosen.map { answer.labels[$0] })
        list(scores, to: &writer)
      }
    case .regression(let value): writer.object { $0.member("value", value) }
    case .embedding: writer.object { _ in }
    }
  }

  private mutating func prepare(_ answer: InferenceAnswer) {
    if let last, last.isBySameSource(as: answer) { return }
    last = answer
    starts = answer.labels.map { label in
      var writer = JSONWriter()
      writer.object {
        $0.member("label", label)
        $0.name("score")
      }
      return Array(writer.bytes.dropLast())
    }
  }

  /// Indices by falling score, the first label among equals.
  private mutating func sort(_ scores: [Float], _ count: Int?) {
    order.removeAll(keepingCapacity: true)
    order.append(contentsOf: scores.indices)
    order.sort { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
    if let count, count < order.count { order.removeLast(order.count - count) }
  }

  private func list(_ scores: [Float], to writer: inout JSONWriter) {
    writer.name("scores")
    writer.array(order) { writer, index in
      writer.begin(starts[index])
      writer.value(scores[index])
      writer.end()
    }
  }
}
