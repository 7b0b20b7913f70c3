/// Where the special tokens stand around one text and around a pair.
struct PostProcessor: Sendable, Equatable {
  enum Piece: Sendable, Equatable {
    case special([Int32], typeID: Int32)
    /// 0 the first text, 1 the second.
    case text(Int, typeID: Int32)
  }

  /// Spaces are taken off what a token's offsets cover.
  struct Trim: Sendable, Equatable {
    /// Not off the first token, whose space was put there.
    let keepsFirstSpace: Bool
  }

  let single: [Piece]
  let pair: [Piece]
  var trim: Trim?

  init(single: [Piece], pair: [Piece], trim: Trim? = nil) {
    self.single = single
    self.pair = pair
    self.trim = trim
  }

  /// The texts without special tokens.
  static let plain = PostProcessor(
    single: [.text(0, typeID: 0)], pair: [.text(0, typeID: 0), .text(1, typeID: 1)])

  var isPlain: Bool { single == Self.plain.single && pair == Self.plain.pair }

  /// Puts texts and special tokens together, the texts cut so that all fits.
  ///
  /// - Parameter limit: greatest number of tokens with the special ones; nil: none.
  func assemble(_ texts: [TokenisedText], limit: Int?, addingSpecials: Bool = true) -> Encoding {
    let pieces = texts.count == 1 ? single : pair
    let template = addingSpecials ? pieces : texts.count == 1 ? Self.plain.single : Self.plain.pair
    let added = template.reduce(0) { sum, piece in
      if case .special(let ids, _) = piece { sum + ids.count } else { sum }
    }
    let total = texts.reduce(added) { $0 + $1.ids.count }
    var lengths = texts.map(\.ids.count)
    if let limit, total > limit { lengths = Self.truncated(lengths, to: max(0, limit - added)) }
    let count = lengths.reduce(added, +)
    var ids: [Int32] = []
    var typeIDs: [Int32] = []
    var offsets: [Range<Int>] = []
    ids.reserveCapacity(count)
    typeIDs.reserveCapacity(count)
    offsets.reserveCapacity(count)
    for piece in template {
      switch piece {
      case .special(let special, let typeID):
        ids += special
        typeIDs += repeatElement(typeID, count: special.count)
        offsets += repeatElement(0..<0, count: special.count)
      case .text(let index, let typeID):
        ids += texts[index].ids[..<lengths[index]]
        typeIDs += repeatElement(typeID, count: lengths[index])
        offsets += texts[index].offsets[..<lengths[index]]
      }
    }
    return Encoding(ids: ids, typeIDs: typeIDs, offsets: offsets, untruncatedCount: total)
  }

  /// Longest first: the shorter text keeps what it has while it is below half, as the library does it.
  static func truncated(_ lengths: [Int], to limit: Int) -> [Int] {
    guard lengths.reduce(0, +) > limit else { return lengths }
    guard lengths.count == 2 else { return lengths.map { min($0, limit) } }
    let shorter = min(lengths[0], lengths[1])
    var kept = (shorter, shorter > limit ? shorter : max(shorter, limit - shorter))
    if kept.0 + kept.1 > limit { kept = (limit / 2, limit / 2 + limit % 2) }
    return lengths[0] > lengths[1] ? [kept.1, kept.0] : [kept.0, kept.1]
  }
}

/// The tokens of one text, without special ones of the template.
struct TokenisedText {
  var ids: [Int32] = []
  var offsets: [Range<Int>] = []

  mutating func add(_ id: Int32, _ range: Range<Int>) {
    ids.append(id)
    offsets.append(range)
  }
}
