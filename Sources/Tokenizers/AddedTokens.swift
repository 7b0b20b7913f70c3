/// Tokens found in the text before anything else is done to it: leftmost first, then longest.
struct AddedTokens: Sendable {
  struct Token: Sendable, Equatable {
    let content: [UInt8]
    let id: Int32
    /// Only where no word character touches it.
    let isSingleWord: Bool
    /// Takes the white space before it.
    let takesSpaceBefore: Bool
    /// Takes the white space after it.
    let takesSpaceAfter: Bool
  }

  private let tokens: [Token]
  /// Tokens by first byte, longest first; of equal ones the first.
  private let byFirstByte: [[Int]]

  init(_ tokens: [Token]) {
    self.tokens = tokens
    var byFirstByte = [[Int]](repeating: [], count: 256)
    for (i, token) in tokens.enumerated() {
      if let first = token.content.first { byFirstByte[Int(first)].append(i) }
    }
    for i in 0..<256 {
      byFirstByte[i].sort { (tokens[$1].content.count, $0) < (tokens[$0].content.count, $1) }
    }
    self.byFirstByte = byFirstByte
  }

  var isEmpty: Bool { tokens.isEmpty }

  /// Cuts a text into added tokens, given with their id, and what lies between.
  func split(_ text: UnsafeBufferPointer<UInt8>, _ body: (Int32?, Range<Int>) -> Void) {
    guard !tokens.isEmpty else {
      if !text.isEmpty { body(nil, 0..<text.count) }
      return
    }
    var done = 0
    var i = 0
    while i < text.count {
      guard let token = longest(in: text, at: i) else {
        i += 1
        continue
      }
      var start = i
      var end = i + token.content.count
      i = end
      if token.isSingleWord, isWord(text, before: start) || isWord(text, at: end) { continue }
      if token.takesSpaceBefore {
        while start > done {
          let (scalar, length) = UTF8Scalars.decode(text, before: start)
          guard UnicodeTables.shared.flags(scalar).contains(.regexSpace) else { break }
          start -= length
        }
        start = max(start, done)
      }
      if token.takesSpaceAfter {
        while end < text.count {
          let (scalar, length) = UTF8Scalars.decode(text, at: end)
          guard UnicodeTables.shared.flags(scalar).contains(.regexSpace) else { break }
          end += length
        }
      }
      if done < start { body(nil, done..<start) }
      body(token.id, start..<end)
      done = end
    }
    if done < text.count { body(nil, done..<text.count) }
  }

  @inline(__always)
  private func longest(in text: UnsafeBufferPointer<UInt8>, at i: Int) -> Token? {
    let candidates = byFirstByte[Int(text[i])]
    for index in candidates where matches(tokens[index].content, text, at: i) { return tokens[index] }
    return nil
  }

  private func matches(_ content: [UInt8], _ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Bool {
    guard i + content.count <= text.count else { return false }
    for j in 0..<content.count where text[i + j] != content[j] { return false }
    return true
  }

  private func isWord(_ text: UnsafeBufferPointer<UInt8>, before i: Int) -> Bool {
    i > 0 && UnicodeTables.shared.flags(UTF8Scalars.decode(text, before: i).scalar).contains(.word)
  }

  private func isWord(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Bool {
    i < text.count && UnicodeTables.shared.flags(UTF8Scalars.decode(text, at: i).scalar).contains(.word)
  }
}
