/// Splits at white space, which goes, and makes a word of each punctuation mark.
enum BertPreTokenizer {
  /// 0 part of a word, 1 white space, 2 punctuation.
  private static let ascii: [UInt8] = (0..<128).map { kind(UnicodeTables.shared.flags($0)) }

  private static func kind(_ flags: UnicodeTables.Flags) -> UInt8 {
    flags.contains(.whitespace) ? 1 : flags.contains(.punctuation) ? 2 : 0
  }

  /// Gives each word of valid UTF-8 as its byte range.
  @inline(__always)
  static func split(_ text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
    ascii.withUnsafeBufferPointer { ascii in
      var start = 0
      var i = 0
      while i < text.count {
        var length = 1
        let kind: UInt8
        if text[i] < 0x80 {
          kind = ascii[Int(text[i])]
        } else {
          let decoded = UTF8Scalars.decode(text, at: i)
          length = decoded.length
          kind = Self.kind(UnicodeTables.shared.flags(decoded.scalar))
        }
        if kind != 0 {
          if start < i { body(start..<i) }
          if kind == 2 { body(i..<i + length) }
          start = i + length
        }
        i += length
      }
      if start < i { body(start..<i) }
    }
  }
}
