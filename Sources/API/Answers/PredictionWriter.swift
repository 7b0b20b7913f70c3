internal import Adapters

/// Writes predictions of one task as JSON, one after the other; what they share, the labels, is JSON once.
struct PredictionWriter {
  /// Up to here labels are sorted by insertion.
  private static let fewLabels = 8
  /// Bytes of the text that are made room for at a time, where more than one prediction fits.
  private static let roomBytes = 64 << 10

  /// By label, end to end: `},{"label":"…","score":`
  private let pieces: [UInt8]
  private let ends: [Int]
  private let longest: Int

  init(_ labels: [String]) {
    var writer = JSONWriter()
    var ends: [Int] = []
    var longest = 0
    ends.reserveCapacity(labels.count)
    for label in labels {
      writer.piece(#"},{"label":"#)
      writer.piece(quoted: label)
      writer.piece(#","score":"#)
      longest = max(longest, writer.bytes.count - (ends.last ?? 0))
      ends.append(writer.bytes.count)
    }
    pieces = writer.bytes
    self.ends = ends
    self.longest = longest
  }

  /// The elements of an array, without its brackets.
  func write(_ predictions: [Prediction], _ topK: Int?, to writer: inout JSONWriter) {
    let listed = min(topK ?? .max, ends.count)
    let capacity = capacity(listed)
    let step = max(1, Self.roomBytes / capacity)
    withUnsafeTemporaryAllocation(of: Int.self, capacity: ends.count) { order in
      pieces.withUnsafeBufferPointer { pieces in
        for start in stride(from: 0, to: predictions.count, by: step) {
          let rows = start..<min(start + step, predictions.count)
          writer.value(upTo: rows.count * capacity) { room in
            predictions.withUnsafeBufferPointer { predictions in
              for row in rows {
                if row > rows.lowerBound { room.append(",") }
                write(predictions[row], listed, order, of: pieces, to: &room)
              }
            }
          }
        }
      }
    }
  }

  /// Bytes of a prediction at most: the best label twice, the chosen labels, each listed label.
  private func capacity(_ listed: Int) -> Int {
    64 + pieces.count + (listed + 2) * (longest + JSONRoom.floatBytes)
  }

  /// Bytes that `write` fills before it asks for more.
  func roomBytes(_ predictions: Int, _ topK: Int?) -> Int {
    min(predictions * capacity(min(topK ?? .max, ends.count)), Self.roomBytes)
  }

  private func write(
    _ prediction: Prediction, _ listed: Int, _ order: UnsafeMutableBufferPointer<Int>,
    of pieces: UnsafeBufferPointer<UInt8>, to room: inout JSONRoom
  ) {
    switch prediction {
    case .classification(let scores):
      scores.withUnsafeBufferPointer { scores in
        sort(scores, order)
        guard let first = order.first else { return room.append(#"{"scores":[]}"#) }
        room.append(object(first, of: pieces))
        let best = room.append(scores[first])
        room.append(#","scores":["#)
        room.append(object(first, of: pieces))
        room.repeat(best)
        rest(scores, order[1..<listed], of: pieces, to: &room)
      }
    case .multilabel(let scores, let chosen):
      scores.withUnsafeBufferPointer { scores in
        sort(scores, order)
        room.append(#"{"labels":["#)
        for (index, label) in chosen.enumerated() {
          if index > 0 { room.append(",") }
          room.append(quoted(label, of: pieces))
        }
        room.append(#"],"scores":["#)
        guard let first = order.first else { return room.append("]}") }
        room.append(object(first, of: pieces))
        room.append(scores[first])
        rest(scores, order[1..<listed], of: pieces, to: &room)
      }
    case .regression(let value):
      room.append(#"{"value":"#)
      room.append(value)
      room.append("}")
    case .embedding: room.append("{}")
    }
  }

  private func rest(
    _ scores: UnsafeBufferPointer<Float>, _ order: Slice<UnsafeMutableBufferPointer<Int>>,
    of pieces: UnsafeBufferPointer<UInt8>, to room: inout JSONRoom
  ) {
    for index in order {
      room.append(piece(index, of: pieces))
      room.append(scores[index])
    }
    room.append("}]}")
  }

  private func piece(
    _ label: Int, of pieces: UnsafeBufferPointer<UInt8>
  ) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: pieces[(label == 0 ? 0 : ends[label - 1])..<ends[label]])
  }

  /// `{"label":"…","score":`
  private func object(
    _ label: Int, of pieces: UnsafeBufferPointer<UInt8>
  ) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: piece(label, of: pieces).dropFirst("},".utf8.count))
  }

  /// `"…"`
  private func quoted(
    _ label: Int, of pieces: UnsafeBufferPointer<UInt8>
  ) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(
      rebasing: piece(label, of: pieces).dropFirst(#"},{"label":"#.utf8.count).dropLast(
        #","score":"#.utf8.count))
  }

  /// Labels by falling score, the first among equals.
  private func sort(_ scores: UnsafeBufferPointer<Float>, _ order: UnsafeMutableBufferPointer<Int>) {
    precondition(scores.count == ends.count, "a score for each label")
    for index in order.indices { order.initializeElement(at: index, to: index) }
    guard scores.count <= Self.fewLabels else {
      var order = order
      order.sort { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
      return
    }
    for index in order.indices.dropFirst() {
      var place = index
      while place > 0, scores[index] > scores[order[place - 1]] {
        order[place] = order[place - 1]
        place -= 1
      }
      order[place] = index
    }
  }
}
