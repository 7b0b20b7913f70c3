internal import Adapters
internal import HTTPWire
internal import Serving

/// Answers of inference as JSON or raw tensors.
enum InferenceAnswers {
  /// `POST /adapters/{task}/infer`.
  static func json(
    _ result: InferenceResult, task: String, topK: Int?, encoding: EmbeddingEncoding
  ) -> [UInt8] {
    let source = result.source(0)
    let predictions = PredictionWriter(source.labels)
    var writer = JSONWriter(reserving: 512 + predictions.roomBytes(result.count, topK))
    writer.object { writer in
      writer.member("task", task)
      writer.member("version", source.version)
      writer.member("subspace", source.subspace)
      if source.kind == .embedding {
        writer.member("encoding", encoding.rawValue)
        writer.member("dimensions", result.predictions.first.map { tensor($0).count } ?? 0)
        writer.name("embeddings")
        writer.array(result.predictions) { embedding(&$0, $1, encoding) }
      } else {
        writer.name("predictions")
        writer.array { predictions.write(result.predictions, topK, to: &$0) }
      }
      closing(&writer, result)
    }
    return writer.bytes
  }

  /// `POST /infer`.
  static func json(
    _ result: InferenceResult, items: [InferenceItem], encoding: EmbeddingEncoding
  ) -> [UInt8] {
    var writers: [ObjectIdentifier: PredictionWriter] = [:]
    return JSONWriter.object { writer in
      writer.name("results")
      writer.array(items.indices) { writer, row in
        let source = result.source(row)
        let prediction = result.predictions[row]
        writer.object {
          $0.member("task", source.task)
          $0.member("version", source.version)
          $0.member("subspace", source.subspace)
          if source.kind == .embedding {
            $0.member("encoding", encoding.rawValue)
            $0.name("embedding")
            embedding(&$0, prediction, encoding)
          } else {
            $0.name("prediction")
            let place = ObjectIdentifier(source)
            let predictions = writers[place] ?? PredictionWriter(source.labels)
            writers[place] = predictions
            predictions.write([prediction], items[row].options.topK, to: &$0)
          }
        }
      }
      closing(&writer, result)
    }
  }

  /// The outputs of all rows in a row-major float32 tensor: embeddings, scores in the labels' order, or values.
  static func raw(_ result: InferenceResult) -> HTTPResponse {
    var bytes: [UInt8] = []
    for prediction in result.predictions { FloatBytes.append(tensor(prediction), to: &bytes) }
    let width = result.predictions.first.map { tensor($0).count } ?? 0
    var fields = [
      ("Content-Type", MediaTypes.octets), ("X-Tensor-Shape", "\(result.count),\(width)"),
      ("X-Tensor-Type", "float32"),
    ]
    if let version = result.source(0).version { fields.append(("X-Task-Version", String(version))) }
    return HTTPResponse(status: 200, fields: fields, body: .bytes(bytes))
  }

  private static func tensor(_ prediction: Prediction) -> [Float] {
    switch prediction {
    case .classification(let scores), .multilabel(let scores, _): scores
    case .regression(let value): [value]
    case .embedding(let vector): vector
    }
  }

  static func embedding(
    _ writer: inout JSONWriter, _ prediction: Prediction, _ encoding: EmbeddingEncoding
  ) {
    switch encoding {
    case .float: writer.floats(tensor(prediction))
    case .base64: writer.value(FloatBytes.base64(FloatBytes.littleEndian(tensor(prediction))))
    }
  }

  private static func closing(_ writer: inout JSONWriter, _ result: InferenceResult) {
    writer.name("usage")
    writer.object {
      $0.member("inputs", result.count)
      $0.member("tokens", result.tokens)
      $0.member("truncated", result.truncated)
    }
    writer.name("timing")
    writer.object {
      $0.member("queue_ms", rounded(result.queueMilliseconds))
      $0.member("compute_ms", rounded(result.computeMilliseconds))
    }
  }

  private static func rounded(_ milliseconds: Double) -> Double { (milliseconds * 1_000).rounded() / 1_000 }
}
