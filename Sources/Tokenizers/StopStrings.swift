/// Ends a text that grows piece by piece where one of some strings appears, compared byte for byte, wherever the pieces
/// are cut.
///
/// Text that may be the beginning of a stop string waits; all pieces given out together are the text before it. A piece
/// ends between scalars where those that come in do. One automaton a string (Knuth, Morris and Pratt): constant time a
/// byte and string, and no more than the longest string waits.
public struct StopStrings: Sendable {
  private struct Pattern: Sendable {
    let text: String
    let bytes: [UInt8]
    /// By length of a matched prefix: the longest proper prefix of it that is its suffix too.
    let borders: [Int]
    /// Bytes matched so far.
    var matched = 0

    init(_ text: String) {
      self.text = text
      bytes = Array(text.utf8)
      var borders = [Int](repeating: 0, count: bytes.count + 1)
      for length in bytes.indices.dropFirst() {
        var border = borders[length]
        while border > 0, bytes[border] != bytes[length] { border = borders[border] }
        borders[length + 1] = bytes[border] == bytes[length] ? border + 1 : 0
      }
      self.borders = borders
    }

    /// True when the byte completes the string.
    mutating func feed(_ byte: UInt8) -> Bool {
      while matched > 0, bytes[matched] != byte { matched = borders[matched] }
      if bytes[matched] == byte { matched += 1 }
      return matched == bytes.count
    }
  }

  private var patterns: [Pattern]
  private var held: [UInt8] = []
  /// The string that ended the text.
  public private(set) var match: String?

  /// Empty strings end nothing.
  public init(_ strings: [String]) {
    patterns = strings.filter { !$0.isEmpty }.map(Pattern.init)
  }

  /// Takes the next piece and gives what can no longer be part of a stop string; after a match nothing.
  public mutating func append(_ piece: String) -> String {
    guard match == nil else { return "" }
    guard !patterns.isEmpty else { return piece }
    for byte in piece.utf8 {
      held.append(byte)
      var longest = 0
      for index in patterns.indices where patterns[index].feed(byte) {
        // Of strings that end here the longest began first.
        longest = max(longest, patterns[index].bytes.count)
        if longest == patterns[index].bytes.count { match = patterns[index].text }
      }
      if longest > 0 {
        defer { held = [] }
        return String(decoding: held.dropLast(longest), as: UTF8.self)
      }
    }
    let waiting = patterns.reduce(0) { max($0, $1.matched) }
    defer { held.removeFirst(held.count - waiting) }
    return String(decoding: held.dropLast(waiting), as: UTF8.self)
  }

  /// What still waits, once no more text comes.
  public mutating func finish() -> String {
    defer { held = [] }
    return String(decoding: held, as: UTF8.self)
  }
}
