/// How a normalised text is cut into the words that the model sees.
struct PreTokenizer: Sendable, Equatable {
  enum Step: Sendable, Equatable {
    case bert
    case words(WordPattern)
    /// Each digit apart, or runs of digits apart.
    case digits(individual: Bool)
    case whitespaceSplit
    case literal([UInt8], Behavior)
    /// A space before a text that has none.
    case prefixSpace
    case metaspace(Metaspace)
  }

  /// What becomes of the places where a pattern matches.
  enum Behavior: String, Sendable, Equatable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
  }

  struct Metaspace: Sendable, Equatable {
    enum Scheme: String, Sendable { case first, never, always }

    let replacement: [UInt8]
    let scheme: Scheme
    let splits: Bool
  }

  let steps: [Step]
  /// The model sees each byte as a character of its own.
  let isByteLevel: Bool

  /// Gives each word as a range of the text given with it.
  func split(
    _ text: NormalizedText, _ range: Range<Int>, _ body: (NormalizedText, Range<Int>) -> Void
  ) {
    run(0, text, range, body)
  }

  private func run(
    _ index: Int, _ text: NormalizedText, _ range: Range<Int>,
    _ body: (NormalizedText, Range<Int>) -> Void
  ) {
    guard !range.isEmpty else { return }
    guard index < steps.count else { return body(text, range) }
    switch steps[index] {
    case .prefixSpace:
      if text.bytes[range.lowerBound] == 0x20 { return run(index + 1, text, range, body) }
      var piece = text.slice(range)
      piece.prepend([0x20])
      run(index + 1, piece, 0..<piece.bytes.count, body)
    case .metaspace(let metaspace):
      let isFirst = text.original(range.lowerBound..<range.lowerBound + 1).lowerBound == 0
      var piece = text.slice(range)
      piece.replace(TextPattern.literal([0x20]).matches(in: piece.bytes), with: metaspace.replacement)
      let hasOne = piece.bytes.starts(with: metaspace.replacement)
      if metaspace.scheme == .always || metaspace.scheme == .first && isFirst, !hasOne {
        piece.prepend(metaspace.replacement)
      }
      guard metaspace.splits else { return run(index + 1, piece, 0..<piece.bytes.count, body) }
      Self.pieces(
        0..<piece.bytes.count, TextPattern.literal(metaspace.replacement).matches(in: piece.bytes),
        .mergedWithNext
      ) { run(index + 1, piece, $0, body) }
    case .literal(let literal, let behavior):
      let matches = TextPattern.literal(literal).matches(in: Array(text.bytes[range]))
      Self.pieces(0..<range.count, matches, behavior) {
        run(index + 1, text, range.lowerBound + $0.lowerBound..<range.lowerBound + $0.upperBound, body)
      }
    case .bert, .words, .digits, .whitespaceSplit:
      text.bytes.withUnsafeBufferPointer { bytes in
        let piece = UnsafeBufferPointer(rebasing: bytes[range])
        Self.split(piece, by: steps[index]) {
          run(index + 1, text, range.lowerBound + $0.lowerBound..<range.lowerBound + $0.upperBound, body)
        }
      }
    }
  }

  private static func split(
    _ piece: UnsafeBufferPointer<UInt8>, by step: Step, _ body: (Range<Int>) -> Void
  ) {
    switch step {
    case .bert: BertPreTokenizer.split(piece, body)
    case .words(let pattern): pattern.split(piece, body)
    case .digits(let individual):
      runs(piece, of: .digit) { range, isMatch in
        guard isMatch, individual else { return body(range) }
        var i = range.lowerBound
        while i < range.upperBound {
          let length = UTF8Scalars.decode(piece, at: i).length
          body(i..<i + length)
          i += length
        }
      }
    case .whitespaceSplit: runs(piece, of: .whitespace) { range, isMatch in if !isMatch { body(range) } }
    case .literal, .prefixSpace, .metaspace: body(0..<piece.count)
    }
  }

  /// Gives the runs of scalars with a flag and of those without, in turn.
  private static func runs(
    _ piece: UnsafeBufferPointer<UInt8>, of flag: UnicodeTables.Flags, _ body: (Range<Int>, Bool) -> Void
  ) {
    var start = 0
    var isMatch = false
    var i = 0
    while i < piece.count {
      let (scalar, length) = UTF8Scalars.decode(piece, at: i)
      let matches = UnicodeTables.shared.flags(scalar).contains(flag)
      if matches != isMatch {
        if start < i { body(start..<i, isMatch) }
        start = i
        isMatch = matches
      }
      i += length
    }
    if start < i { body(start..<i, isMatch) }
  }

  /// Cuts a range at its matches.
  static func pieces(
    _ range: Range<Int>, _ matches: [Range<Int>], _ behavior: Behavior, _ body: (Range<Int>) -> Void
  ) {
    func give(_ piece: Range<Int>) { if !piece.isEmpty { body(piece) } }
    var start = range.lowerBound
    switch behavior {
    case .removed, .isolated:
      for match in matches {
        give(start..<match.lowerBound)
        if behavior == .isolated { give(match) }
        start = match.upperBound
      }
    case .contiguous:
      var i = 0
      while i < matches.count {
        give(start..<matches[i].lowerBound)
        start = matches[i].lowerBound
        while i + 1 < matches.count, matches[i].upperBound == matches[i + 1].lowerBound { i += 1 }
        give(start..<matches[i].upperBound)
        start = matches[i].upperBound
        i += 1
      }
    case .mergedWithPrevious:
      for match in matches {
        give(start..<match.upperBound)
        start = match.upperBound
      }
    case .mergedWithNext:
      for match in matches {
        give(start..<match.lowerBound)
        start = match.lowerBound
      }
    }
    give(start..<range.upperBound)
  }
}
