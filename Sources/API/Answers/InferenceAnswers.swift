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
  private static let scores = Array(#","scores":["#.utf8)
  private static let end = Array("}]}".utf8)
  private static let emptyEnd = Array("]}".utf8)
  /// Up to here labels are sorted by insertion.
  private static let fewLabels = 8
  /// The longest text of a float.
  private static let floatBytes = 24

  private var last: InferenceAnswer?
  /// By label: `{"label":"…","score":`
  private var starts: [[UInt8]] = []
  /// The same behind another object.
  private var nextStarts: [[UInt8]] = []
  private var order: [Int] = []

  mutating func write(_ answer: InferenceAnswer, _ topK: Int?, to writer: inout JSONWriter) {
    switch answer.prediction {
    case .classification(let scores):
      prepare(answer)
      sort(scores, topK)
      guard let first = order.first else { return writer.object { $0.member("scores", []) } }
      writer.value(upTo: room + starts[first].count) { room in
        room.append(starts[first])
        let best = room.append(scores[first])
        list(scores, best: best, to: &room)
      }
    case .multilabel(let scores, let chosen):
      prepare(answer)
      sort(scores, topK)
      var start = JSONWriter()
      start.object { $0.member("labels", chosen.map { answer.labels[$0] }) }
      let labels = Array(start.bytes.dropLast())
      writer.value(upTo: room + labels.count) { room in
        room.append(labels)
        list(scores, to: &room)
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
    nextStarts = starts.map { Array("},".utf8) + $0 }
  }

  /// Indices by falling score, the first label among equals.
  private mutating func sort(_ scores: [Float], _ count: Int?) {
    order.removeAll(keepingCapacity: true)
    order.append(contentsOf: scores.indices)
    if scores.count <= Self.fewLabels {
      for index in order.indices.dropFirst() {
        var place = index
        while place > 0, scores[order[place]] > scores[order[place - 1]] {
          order.swapAt(place, place - 1)
          place -= 1
        }
      }
    } else {
      order.sort { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
    }
    if let count, count < order.count { order.removeLast(order.count - count) }
  }

  /// Bytes that the scores take at most.
  private var room: Int {
    order.reduce(Self.scores.count + Self.floatBytes + Self.end.count) {
      $0 + nextStarts[$1].count + Self.floatBytes
    }
  }

  /// - Parameter best: where the first one's score stands already.
  private func list(_ scores: [Float], best: Range<Int>? = nil, to room: inout JSONRoom) {
    room.append(Self.scores)
    guard let first = order.first else { return room.append(Self.emptyEnd) }
    room.append(starts[first])
    if let best { room.repeat(best) } else { room.append(scores[first]) }
    for index in order.dropFirst() {
      room.append(nextStarts[index])
      room.append(scores[index])
    }
    room.append(Self.end)
  }
}
