/// How the texts of tokens become a text again.
indirect enum Decoder: Sendable, Equatable {
  /// Tokens with spaces between them, where a file has no decoder.
  case spaced
  case byteLevel
  case metaspace(replacement: [UInt8], prepends: Bool)
  /// `<0x41>` is the byte 0x41.
  case byteFallback
  case fuse
  case strip([UInt8], start: Int, stop: Int)
  case replace(TextPattern, with: [UInt8])
  case wordPiece(prefix: [UInt8], cleansUp: Bool)
  /// Ends of words are marked.
  case wordEnds([UInt8])
  case sequence([Decoder])

  /// The steps, one after the other.
  var steps: [Decoder] {
    if case .sequence(let decoders) = self { decoders.flatMap(\.steps) } else { [self] }
  }

  /// After it there is one text and no tokens.
  var fuses: Bool { self == .fuse || self == .byteLevel }

  /// Whether a step may come after one that fuses.
  var readsFused: Bool {
    switch self {
    case .fuse, .strip, .replace: true
    default: false
    }
  }
}

extension Decoder {
  /// A step at work. What it gives for tokens as they come is, put together, what it gives for all.
  struct Step: Sendable {
    private let decoder: Decoder
    /// It gets parts of one text, cut between scalars, in place of tokens.
    private let isFused: Bool
    private var isFirst = true
    /// Bytes, or a token, that wait for what comes next.
    private var held: [UInt8] = []
    private var heldTokens = 0
    /// Scalars that may yet be stripped from the start.
    private var strippable: Int

    init(_ decoder: Decoder, isFused: Bool) {
      self.decoder = decoder
      self.isFused = isFused
      if case .strip(_, let start, _) = decoder { strippable = start } else { strippable = 0 }
    }

    mutating func feed(_ token: [UInt8], _ next: ([UInt8]) -> Void) {
      defer { isFirst = false }
      switch decoder {
      case .spaced: next(isFirst ? token : [0x20] + token)
      case .fuse, .sequence: next(token)
      case .byteLevel:
        held += ByteAlphabet.read(token[...]) ?? token
        next(wholeScalars())
      case .metaspace(let replacement, let prepends):
        let space: [UInt8] = isFirst && prepends ? [] : [0x20]
        next(TextPattern.literal(replacement).replacing(in: token, with: space))
      case .byteFallback:
        if let byte = Self.byte(token) {
          held.append(byte)
        } else {
          releaseBytes(next)
          next(token)
        }
      case .strip(let content, let start, let stop):
        if isFused {
          next(stripPart(token, content, stop))
        } else {
          next(Self.strip(token, content, start, stop))
        }
      case .replace(let pattern, let content):
        if isFused {
          held += token
          let ready = held.count - pattern.openEnd(of: held)
          next(pattern.replacing(in: Array(held[..<ready]), with: content))
          held.removeFirst(ready)
        } else {
          next(pattern.replacing(in: token, with: content))
        }
      case .wordPiece(let prefix, let cleansUp):
        var text = token
        if !isFirst {
          if token.starts(with: prefix) { text.removeFirst(prefix.count) } else { text.insert(0x20, at: 0) }
        }
        next(cleansUp ? Self.cleanUp(text) : text)
      case .wordEnds(let suffix):
        if heldTokens > 0 { next(TextPattern.literal(suffix).replacing(in: held, with: [0x20])) }
        held = token
        heldTokens = 1
      }
    }

    mutating func finish(_ next: ([UInt8]) -> Void) {
      switch decoder {
      case .byteLevel:
        // What was begun is one character that is none.
        if !held.isEmpty { next(Self.replacement) }
      case .byteFallback: releaseBytes(next)
      case .replace(let pattern, let content):
        if isFused { next(pattern.replacing(in: held, with: content)) }
      case .wordEnds(let suffix):
        if heldTokens > 0 { next(TextPattern.literal(suffix).replacing(in: held, with: [])) }
      case .spaced, .fuse, .sequence, .metaspace, .strip, .wordPiece: break
      }
      held = []
      heldTokens = 0
    }

    // MARK: Bytes

    private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

    /// What can be told of the held bytes; a scalar that is not whole stays.
    private mutating func wholeScalars() -> [UInt8] {
      var text: [UInt8] = []
      text.reserveCapacity(held.count)
      let done = held.withUnsafeBufferPointer { held in
        var i = 0
        while i < held.count {
          let (kind, length) = UTF8Scalars.inspect(held, at: i)
          switch kind {
          case .scalar: text += held[i..<i + length]
          case .fault: text += Self.replacement
          case .cut: return i
          }
          i += length
        }
        return i
      }
      held.removeFirst(done)
      return text
    }

    fileprivate static func byte(_ token: [UInt8]) -> UInt8? {
      guard token.count == 6, token.starts(with: [0x3C, 0x30, 0x78]), token[5] == 0x3E else { return nil }
      return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }

    /// A run of byte tokens that is not UTF-8 as a whole is a replacement character for each of them.
    private mutating func releaseBytes(_ next: ([UInt8]) -> Void) {
      guard !held.isEmpty else { return }
      let isValid = held.withUnsafeBufferPointer { held in
        var i = 0
        while i < held.count {
          let (kind, length) = UTF8Scalars.inspect(held, at: i)
          guard kind == .scalar else { return false }
          i += length
        }
        return true
      }
      if isValid {
        next(held)
      } else {
        for _ in held { next(Self.replacement) }
      }
      held.removeAll(keepingCapacity: true)
    }

    // MARK: Ends

    private static func strip(_ token: [UInt8], _ content: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
      var rest = token[...]
      for _ in 0..<start {
        guard rest.starts(with: content) else { break }
        rest = rest.dropFirst(content.count)
      }
      for _ in 0..<stop {
        guard rest.count >= content.count, rest.suffix(content.count).elementsEqual(content) else { break }
        rest = rest.dropLast(content.count)
      }
      return Array(rest)
    }

    /// A part of the text without what is stripped from the start, less what may be its end.
    private mutating func stripPart(_ part: [UInt8], _ content: [UInt8], _ stop: Int) -> [UInt8] {
      var rest = part[...]
      while strippable > 0, !rest.isEmpty {
        guard rest.starts(with: content) else {
          strippable = 0
          break
        }
        rest = rest.dropFirst(content.count)
        strippable -= 1
      }
      guard stop > 0 else { return Array(rest) }
      var text = held + rest
      held = []
      for _ in 0..<stop {
        guard text.count >= content.count, text.suffix(content.count).elementsEqual(content) else { break }
        text.removeLast(content.count)
        held += content
      }
      return text
    }

    private static let artefacts: [(String, String)] = [
      (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
      (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]

    private static func cleanUp(_ token: [UInt8]) -> [UInt8] {
      guard token.contains(0x20) else { return token }
      var text = token
      for (artefact, content) in artefacts {
        text = TextPattern.literal(Array(artefact.utf8)).replacing(in: text, with: Array(content.utf8))
      }
      return text
    }
  }
}

extension Decoder {
  /// A token's bytes as the step leaves them where other tokens stand before and after it.
  func bytesWithinText(_ token: [UInt8]) -> [UInt8] {
    switch self {
    case .spaced: [0x20] + token
    case .byteLevel: ByteAlphabet.read(token[...]) ?? token
    case .metaspace(let replacement, _): TextPattern.literal(replacement).replacing(in: token, with: [0x20])
    case .byteFallback: Step.byte(token).map { [$0] } ?? token
    case .replace(let pattern, let content): pattern.replacing(in: token, with: content)
    case .wordPiece(let prefix, _):
      token.starts(with: prefix) ? Array(token.dropFirst(prefix.count)) : [0x20] + token
    case .wordEnds(let suffix): TextPattern.literal(suffix).replacing(in: token, with: [0x20])
    // They change a text's ends.
    case .fuse, .strip: token
    case .sequence(let decoders): decoders.reduce(token) { $1.bytesWithinText($0) }
    }
  }
}

extension TextPattern {
  func replacing(in text: [UInt8], with content: [UInt8]) -> [UInt8] {
    let ranges = matches(in: text)
    guard !ranges.isEmpty else { return text }
    var result: [UInt8] = []
    var done = 0
    for range in ranges {
      result += text[done..<range.lowerBound]
      result += content
      done = range.upperBound
    }
    return result + text[done...]
  }

  /// How many bytes at the end may be the begin of a match that more text completes.
  fileprivate func openEnd(of text: [UInt8]) -> Int {
    switch self {
    case .spaces:
      return text.reversed().prefix { $0 == 0x20 }.count
    case .literal(let needle):
      // Matches do not overlap: only what follows the last one is open.
      let start = matches(in: text).last?.upperBound ?? 0
      var length = min(max(needle.count - 1, 0), text.count - start)
      while length > 0, !needle.starts(with: text.suffix(length)) { length -= 1 }
      return length
    }
  }
}
