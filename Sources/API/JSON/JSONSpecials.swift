/// The bytes of a string that JSON does not take as they are: quotes, backslashes and controls.
enum JSONSpecials {
  static let highs: UInt64 = 0x8080_8080_8080_8080
  private static let ones: UInt64 = 0x0101_0101_0101_0101

  static func contains(_ byte: UInt8) -> Bool {
    byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
  }

  /// The high bits of eight bytes: the lowest that is set marks one of them; those above it may be borrows. None is set
  /// where there is none.
  @inline(__always)
  static func marks(_ word: UInt64) -> UInt64 {
    // A byte, below 0x80, that is zero after the mask, or below 0x20.
    let quote = (word ^ 0x2222_2222_2222_2222) &- ones
    let slash = (word ^ 0x5c5c_5c5c_5c5c_5c5c) &- ones
    return (quote | slash | (word &- 0x2020_2020_2020_2020)) & ~word & highs
  }

  /// Whether any of them is in a text.
  static func occur(in text: UnsafeBufferPointer<UInt8>) -> Bool {
    let raw = UnsafeRawBufferPointer(text)
    var at = 0
    while at + 8 <= raw.count {
      if marks(raw.loadUnaligned(fromByteOffset: at, as: UInt64.self)) != 0 { return true }
      at += 8
    }
    while at < raw.count {
      if contains(raw[at]) { return true }
      at += 1
    }
    return false
  }
}
