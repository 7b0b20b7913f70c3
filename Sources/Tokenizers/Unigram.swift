/// The pieces of a word whose scores add up to the most: Viterbi's path.                       [Kudo18] section 3.2
struct Unigram: Sendable {
  let vocabulary: Vocabulary
  let unknown: Int32
  private let scores: [Double]
  private let trie: ByteTrie
  /// Score of a scalar that is no token.
  private let unknownScore: Double
  /// The tokens `<0x00>` to `<0xFF>`, -1 for one that is missing; empty: what is unknown is not spelled in bytes.
  private let byteTokens: [Int32]

  /// How far below the worst token an unknown scalar is, as the library has it.
  private static let penalty = 10.0

  /// - Parameter scores: one for each id of the vocabulary, which has no gaps and is not empty.
  init(
    vocabulary: Vocabulary, entries: [(token: [UInt8], id: Int32)], scores: [Double], unknown: Int32,
    byteTokens: [Int32]
  ) {
    self.vocabulary = vocabulary
    self.unknown = unknown
    self.scores = scores
    self.byteTokens = byteTokens
    trie = ByteTrie(entries)
    unknownScore = (scores.min() ?? 0) - Self.penalty
  }

  /// A place in the word and the best way to it.
  private struct Node {
    var score = 0.0
    var id: Int32 = 0
    /// Where the last piece begins; -1: no way yet.
    var start = -1
  }

  /// Appends the tokens of a word of valid UTF-8.
  ///
  /// - Complexity: bytes of the word times the length of the longest token.
  func tokenise(
    _ text: NormalizedText, _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>,
    into result: inout TokenisedText
  ) {
    let word = UnsafeBufferPointer(rebasing: bytes[range])
    for piece in path(word) {
      let original = text.original(
        range.lowerBound + piece.lowerBound..<range.lowerBound + piece.upperBound)
      func give(_ id: Int32) {
        result.ids.append(id)
        result.offsets.append(original)
      }
      let part = word[piece]
      if let id = vocabulary.id(of: part) {
        give(id)
      } else if !byteTokens.isEmpty, part.allSatisfy({ byteTokens[Int($0)] >= 0 }) {
        for byte in part { give(byteTokens[Int(byte)]) }
      } else {
        give(unknown)
      }
    }
  }

  /// The pieces of the best path; unknown ones beside each other are one.
  private func path(_ word: UnsafeBufferPointer<UInt8>) -> [Range<Int>] {
    var best = [Node](repeating: Node(), count: word.count + 1)
    best.withUnsafeMutableBufferPointer { best in
      var i = 0
      while i < word.count {
        let length = UTF8Scalars.decode(word, at: i).length
        let score = best[i].score
        var hasSingle = false
        func offer(_ id: Int32, _ end: Int, _ score: Double) {
          if best[end].start < 0 || score > best[end].score {
            best[end] = Node(score: score, id: id, start: i)
          }
        }
        trie.prefixes(of: word, at: i) { id, end in
          offer(id, end, scores[Int(id)] + score)
          hasSingle = hasSingle || end - i == length
        }
        if !hasSingle { offer(unknown, i + length, unknownScore + score) }
        i += length
      }
    }
    var pieces: [Range<Int>] = []
    var end = word.count
    var isUnknown = false
    while end > 0 {
      let node = best[end]
      if isUnknown, node.id == unknown, let last = pieces.popLast() {
        pieces.append(node.start..<last.upperBound)
      } else {
        pieces.append(node.start..<end)
      }
      isUnknown = node.id == unknown
      end = node.start
    }
    pieces.reverse()
    return pieces
  }
}
