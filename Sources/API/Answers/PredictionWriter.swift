internal import Adapters

/// Writes predictions of one task as JSON, one after the other; what they share, the labels, is JSON once.
struct PredictionWriter {
  /// Bytes of the text that are made room for at a time, where more than one prediction fits.
  private static let roomBytes = 64 << 10

  /// By label, end to end: `},{"label":"…","score":`. Then a block, so that the last one can be read in blocks too.
  private let pieces: [UInt8]
  /// Where each begins, and the last one ends.
  private let starts: [Int]
  private let longest: Int

  init(_ labels: [String]) {
    var writer = JSONWriter(reserving: 64 * (labels.count + 1))
    var starts: [Int] = []
    var longest = 0
    starts.reserveCapacity(labels.count + 1)
    starts.append(0)
    for label in labels {
      writer.piece(#"},{"label":"#)
      writer.piece(quoted: label)
      writer.piece(#","score":"#)
      longest = max(longest, writer.bytes.count - starts[starts.count - 1])
      starts.append(writer.bytes.count)
    }
    writer.piece("                ")
    pieces = writer.bytes
    self.starts = starts
    self.longest = longest
  }

  /// The elements of an array, without its brackets.
  func write(_ predictions: [Prediction], _ topK: Int?, to writer: inout JSONWriter) {
    let listed = min(topK ?? .max, starts.count - 1)
    let capacity = capacity(listed)
    let step = max(1, Self.roomBytes / capacity)
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: starts.count - 1) { ranks in
      pieces.withUnsafeBufferPointer { pieces in
        starts.withUnsafeBufferPointer { starts in
          guard let first = pieces.baseAddress else { return }
          let labels = Labels(pieces: first, starts: starts)
          predictions.withUnsafeBufferPointer { predictions in
            for start in stride(from: 0, to: predictions.count, by: step) {
              let rows = predictions[start..<min(start + step, predictions.count)]
              writer.value(upTo: rows.count * capacity) { room in
                for row in rows.indices {
                  if row > rows.startIndex { room.append(",") }
                  labels.write(predictions[row], listed, ranks, to: &room)
                }
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
    min(predictions * capacity(min(topK ?? .max, starts.count - 1)), Self.roomBytes)
  }
}

/// The pieces of a `PredictionWriter` while it writes.
private struct Labels {
  /// Up to here labels are sorted by insertion.
  private static let few = 8

  let pieces: UnsafePointer<UInt8>
  let starts: UnsafeBufferPointer<Int>

  func write(
    _ prediction: Prediction, _ listed: Int, _ ranks: UnsafeMutableBufferPointer<UInt64>,
    to room: inout JSONRoom
  ) {
    switch prediction {
    case .classification(let scores):
      sort(scores, ranks)
      guard !ranks.isEmpty else { return room.append(#"{"scores":[]}"#) }
      let best = label(ranks[0])
      let score = FloatText(scores[best])
      piece(best, from: "},".utf8.count, to: &room)
      room.append(score)
      room.append(#","scores":["#)
      piece(best, from: "},".utf8.count, to: &room)
      room.append(score)
      rest(scores, ranks, listed, to: &room)
    case .multilabel(let scores, let chosen):
      sort(scores, ranks)
      room.append(#"{"labels":["#)
      for (index, label) in chosen.enumerated() {
        if index > 0 { room.append(",") }
        quoted(label, to: &room)
      }
      room.append(#"],"scores":["#)
      guard !ranks.isEmpty else { return room.append("]}") }
      object(label(ranks[0]), scores, to: &room)
      rest(scores, ranks, listed, to: &room)
    case .regression(let value):
      room.append(#"{"value":"#)
      room.append(value)
      room.append("}")
    case .embedding: room.append("{}")
    }
  }

  /// What follows the best of them.
  @inline(__always)
  private func rest(
    _ scores: [Float], _ ranks: UnsafeMutableBufferPointer<UInt64>, _ listed: Int, to room: inout JSONRoom
  ) {
    for place in 1..<max(listed, 1) {
      let label = label(ranks[place])
      piece(label, from: 0, to: &room)
      room.append(scores[label])
    }
    room.append("}]}")
  }

  /// `{"label":"…","score":` and the score.
  @inline(__always)
  private func object(_ label: Int, _ scores: [Float], to room: inout JSONRoom) {
    piece(label, from: "},".utf8.count, to: &room)
    room.append(scores[label])
  }

  @inline(__always)
  private func piece(_ label: Int, from skipped: Int, to room: inout JSONRoom) {
    let start = starts[label] &+ skipped
    room.append(inBlocks: pieces + start, starts[label &+ 1] &- start)
  }

  /// `"…"`
  private func quoted(_ label: Int, to room: inout JSONRoom) {
    let start = starts[label] + #"},{"label":"#.utf8.count
    room.append(
      UnsafeBufferPointer(start: pieces + start, count: starts[label + 1] - #","score":"#.utf8.count - start))
  }

  /// Labels by falling score, the first among equals.
  ///
  /// - Parameter ranks: the score's bits, so that smaller means better, above the label.
  @inline(__always)
  private func sort(_ scores: [Float], _ ranks: UnsafeMutableBufferPointer<UInt64>) {
    precondition(scores.count == ranks.count, "a score for each label")
    for label in ranks.indices {
      // No minus zero; the bits of negative numbers fall as the numbers rise.
      let bits = (scores[label] + 0).bitPattern
      let rising = bits ^ (UInt32(bitPattern: Int32(bitPattern: bits) >> 31) | 1 << 31)
      ranks.initializeElement(at: label, to: UInt64(~rising) << 32 | UInt64(label))
    }
    guard ranks.count <= Self.few else {
      var ranks = ranks
      return ranks.sort()
    }
    // Every one is compared with every other: which way each goes is not to be foreseen.
    for count in ranks.indices.dropFirst() {
      var best = ranks[count]
      for place in (0..<count).reversed() {
        let other = ranks[place]
        ranks[place + 1] = max(best, other)
        best = min(best, other)
      }
      ranks[0] = best
    }
  }

  @inline(__always)
  private func label(_ rank: UInt64) -> Int { Int(truncatingIfNeeded: rank & 0xffff_ffff) }
}
