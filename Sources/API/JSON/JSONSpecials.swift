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
    // A byte, below 0x80, that is zero after the mask; one that is below 0x21, which the quote is as well then.
    let slash = (word ^ 0x5c5c_5c5c_5c5c_5c5c) &- ones
    let others = (word ^ 0x0202_0202_0202_0202) &- 0x2121_2121_2121_2121
    return (slash | others) & ~word & highs
  }

  /// Whether one of 32 bytes is one of them: the same in four lanes, as comparisons of bytes become loops.
  @inline(__always)
  static func occur(in words: SIMD4<UInt64>) -> Bool {
    typealias Words = SIMD4<UInt64>
    let slash = (words ^ Words(repeating: 0x5c5c_5c5c_5c5c_5c5c)) &- Words(repeating: ones)
    let others =
      (words ^ Words(repeating: 0x0202_0202_0202_0202)) &- Words(repeating: 0x2121_2121_2121_2121)
    let marks = (slash | others) & (words ^ Words(repeating: .max)) & Words(repeating: highs)
    return joined(marks) != 0
  }

  /// All bits of four lanes.
  @inline(__always)
  static func joined(_ words: SIMD4<UInt64>) -> UInt64 {
    let half = words.lowHalf | words.highHalf
    return half[0] | half[1]
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
