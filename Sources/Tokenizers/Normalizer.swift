/// What is done to a text before it is split.
indirect enum Normalizer: Sendable, Equatable {
  case none
  case bert(BertNormalizer)
  case unicode(UnicodeForm)
  case lowercase
  /// Drops combining marks, as they stand.
  case stripAccents
  /// Drops white space at the ends.
  case strip(left: Bool, right: Bool)
  case replace(TextPattern, with: [UInt8])
  case prepend([UInt8])
  /// SentencePiece's rules for control characters and white space.
  case nmt
  case precompiled(CharacterMap)
  case sequence([Normalizer])

  /// Normalises a range of a text of valid UTF-8.
  func normalise(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> NormalizedText {
    if case .bert(let bert) = self { return bert.normalise(text, range) }
    var result = NormalizedText(text, range)
    apply(to: &result)
    return result
  }

  /// The normalised bytes of a short text, such as an added token.
  func normalise(_ bytes: [UInt8]) -> [UInt8] {
    bytes.withUnsafeBufferPointer { normalise($0, 0..<$0.count).bytes }
  }

  private func apply(to text: inout NormalizedText) {
    switch self {
    case .none: return
    case .bert(let bert): text = bert.normalise(text)
    case .unicode(let form): form.apply(to: &text)
    case .lowercase: Self.lower(&text)
    case .stripAccents: Self.filter(&text) { !UnicodeTables.shared.flags($0).contains(.combining) }
    case .strip(let left, let right): Self.strip(&text, left: left, right: right)
    case .replace(let pattern, let content): text.replace(pattern.matches(in: text.bytes), with: content)
    case .prepend(let prefix): text.prepend(prefix)
    case .nmt: Self.nmt(&text)
    case .precompiled(let map): map.apply(to: &text)
    case .sequence(let parts): for part in parts { part.apply(to: &text) }
    }
  }

  private static func lower(_ text: inout NormalizedText) {
    let tables = UnicodeTables.shared
    guard text.bytes.contains(where: { $0 >= 0x80 || ($0 >= 0x41 && $0 <= 0x5A) }) else { return }
    var rewriter = NormalizedText.Rewriter(text)
    text.forEachScalar { scalar in
      guard tables.flags(scalar).contains(.lowers) else { return rewriter.write(scalar, 0) }
      var change = 0
      tables.lowercase(scalar) {
        rewriter.write($0, change)
        change = 1
      }
    }
    text = rewriter.finish()
  }

  private static func strip(_ text: inout NormalizedText, left: Bool, right: Bool) {
    func isSpace(_ scalar: UInt32) -> Bool { UnicodeTables.shared.flags(scalar).contains(.whitespace) }
    let kept = text.bytes.withUnsafeBufferPointer { bytes in
      var start = 0
      var end = bytes.count
      while left, start < end {
        let (scalar, length) = UTF8Scalars.decode(bytes, at: start)
        guard isSpace(scalar) else { break }
        start += length
      }
      while right, end > start {
        let (scalar, length) = UTF8Scalars.decode(bytes, before: end)
        guard isSpace(scalar) else { break }
        end -= length
      }
      return start..<end
    }
    text.keep(kept)
  }

  /// Drops scalars; one that goes widens no other's span.
  private static func filter(_ text: inout NormalizedText, _ isKept: (UInt32) -> Bool) {
    var changes: [(scalar: UInt32, change: Int)] = []
    var skipped = 0
    text.forEachScalar { scalar in
      if isKept(scalar) {
        changes.append((scalar, 0))
      } else if changes.isEmpty {
        skipped += 1
      } else {
        changes[changes.count - 1].change -= 1
      }
    }
    guard skipped > 0 || changes.contains(where: { $0.change != 0 }) else { return }
    var rewriter = NormalizedText.Rewriter(text, skipping: skipped)
    for (scalar, change) in changes { rewriter.write(scalar, change) }
    text = rewriter.finish()
  }

  private static func nmt(_ text: inout NormalizedText) {
    filter(&text) { scalar in
      switch scalar {
      case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: false
      default: true
      }
    }
    var rewriter = NormalizedText.Rewriter(text)
    var isChanged = false
    text.forEachScalar { scalar in
      switch scalar {
      case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
        isChanged = true
        rewriter.write(0x20, 0)
      default: rewriter.write(scalar, 0)
      }
    }
    if isChanged { text = rewriter.finish() }
  }
}

/// What `Replace` and `Split` look for: a text, or one of the few expressions that tokenizer files use.
enum TextPattern: Sendable, Equatable {
  case literal([UInt8])
  /// ` {2,}`
  case spaces(atLeast: Int)

  /// The expression of a file; nil where it is not one that is known.
  init?(expression: String) {
    switch expression {
    case " {2,}": self = .spaces(atLeast: 2)
    case " +": self = .spaces(atLeast: 1)
    case " ": self = .literal([0x20])
    default: return nil
    }
  }

  /// Where it occurs, leftmost first, none on another.
  func matches(in bytes: [UInt8]) -> [Range<Int>] {
    bytes.withUnsafeBufferPointer { bytes in
      var result: [Range<Int>] = []
      switch self {
      case .literal(let needle):
        guard let first = needle.first, needle.count <= bytes.count else { return [] }
        var i = 0
        while i + needle.count <= bytes.count {
          if bytes[i] == first, bytes[i..<i + needle.count].elementsEqual(needle) {
            result.append(i..<i + needle.count)
            i += needle.count
          } else {
            i += 1
          }
        }
      case .spaces(let least):
        var i = 0
        while i < bytes.count {
          let start = i
          while i < bytes.count, bytes[i] == 0x20 { i += 1 }
          if i - start >= least { result.append(start..<i) }
          if i == start { i += 1 }
        }
      }
      return result
    }
  }
}
