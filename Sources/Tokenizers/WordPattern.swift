/// The expressions that cut a text into words before byte-level BPE, as matchers written by hand.
///
/// Each follows its expression alternative by alternative, leftmost first, as a backtracking engine would; what `\s`,
/// `\p{L}` and `\p{N}` hold comes from the tables, so from the library's engine. Every scalar falls to some word.
enum WordPattern: Sendable, Equatable {
  /// GPT-2's, which `ByteLevel` has built in.
  case gpt2
  /// Llama 3's (digits by three) and Qwen's (digits one by one).
  case cl100k(digits: Int)

  static let gpt2Expression =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  static let llama3Expression =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  static let qwenExpression =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// The matcher of an expression; nil where there is none.
  init?(expression: String) {
    switch expression {
    case Self.gpt2Expression: self = .gpt2
    case Self.llama3Expression: self = .cl100k(digits: 3)
    case Self.qwenExpression: self = .cl100k(digits: 1)
    default: return nil
    }
  }

  /// Gives each word of valid UTF-8 as its byte range; together they are the text.
  func split(_ text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
    UnicodeTables.shared.withReader { tables in
      let scanner = Scanner(text: text, tables: tables)
      var i = 0
      while i < text.count {
        let end =
          switch self {
          case .gpt2: scanner.gpt2Word(at: i)
          case .cl100k(let digits): scanner.cl100kWord(at: i, digits: digits)
          }
        body(i..<end)
        i = end
      }
    }
  }

  private struct Scanner {
    enum Kind { case letter, number, space, other, end }

    let text: UnsafeBufferPointer<UInt8>
    let tables: UnicodeTables.Reader

    /// What stands at a position, and its length.
    @inline(__always)
    func kind(at i: Int) -> (kind: Kind, length: Int) {
      guard i < text.count else { return (.end, 0) }
      let (scalar, length) = UTF8Scalars.decode(text, at: i)
      let flags = tables.flags(scalar)
      if flags.contains(.letter) { return (.letter, length) }
      if flags.contains(.number) { return (.number, length) }
      return (flags.contains(.patternSpace) ? .space : .other, length)
    }

    /// The end of the run of one kind.
    @inline(__always)
    func run(_ kind: Kind, from start: Int) -> Int {
      var i = start
      while true {
        let next = self.kind(at: i)
        guard next.kind == kind else { return i }
        i += next.length
      }
    }

    func gpt2Word(at start: Int) -> Int {
      if let end = contraction(at: start, folding: false) { return end }
      let first = kind(at: start)
      if first.kind == .space {
        if text[start] == 0x20 {
          let next = kind(at: start + 1)
          if next.kind != .space, next.kind != .end { return run(next.kind, from: start + 1) }
        }
        return spaces(from: start)
      }
      return run(first.kind, from: start)
    }

    func cl100kWord(at start: Int, digits: Int) -> Int {
      if let end = contraction(at: start, folding: true) { return end }
      let first = kind(at: start)
      let next = start + first.length
      switch first.kind {
      case .letter: return run(.letter, from: next)
      case .number:
        var end = next
        for _ in 1..<max(digits, 1) {
          let digit = kind(at: end)
          guard digit.kind == .number else { break }
          end += digit.length
        }
        return end
      case .other:
        if kind(at: next).kind == .letter { return run(.letter, from: next) }
        return lineEnds(from: run(.other, from: next))
      default:
        let isLineEnd = text[start] == 0x0A || text[start] == 0x0D
        let following = kind(at: next).kind
        if !isLineEnd, following == .letter { return run(.letter, from: next) }
        if text[start] == 0x20, following == .other { return lineEnds(from: run(.other, from: next)) }
        // \s*[\r\n]+ ends after the last line end of the white space.
        let end = run(.space, from: start)
        var i = end
        while i > start {
          if text[i - 1] == 0x0A || text[i - 1] == 0x0D { return i }
          i -= 1
        }
        return spaces(from: start, to: end)
      }
    }

    /// `\s+(?!\S)|\s+`: all white space but the last scalar before a word.
    func spaces(from start: Int) -> Int { spaces(from: start, to: run(.space, from: start)) }

    func spaces(from start: Int, to end: Int) -> Int {
      if end == text.count { return end }
      let last = end - UTF8Scalars.decode(text, before: end).length
      return last > start ? last : end
    }

    func lineEnds(from start: Int) -> Int {
      var i = start
      while i < text.count, text[i] == 0x0A || text[i] == 0x0D { i += 1 }
      return i
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`; where case is folded, the long s (U+017F) is an s too.
    func contraction(at start: Int, folding: Bool) -> Int? {
      guard text[start] == UInt8(ascii: "'") else { return nil }
      func letter(_ i: Int) -> UInt8 {
        guard i < text.count else { return 0 }
        return folding && text[i] >= 0x41 && text[i] <= 0x5A ? text[i] | 0x20 : text[i]
      }
      switch (letter(start + 1), letter(start + 2)) {
      case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _):
        return start + 2
      case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
        (UInt8(ascii: "l"), UInt8(ascii: "l")):
        return start + 3
      case (0xC5, 0xBF) where folding: return start + 3
      default: return nil
      }
    }
  }
}
