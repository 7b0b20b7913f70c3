/// Scalars in and out of UTF-8 bytes.
enum UTF8Scalars {
  /// The scalar at a position of valid UTF-8, and its length in bytes.
  @inline(__always)
  static func decode(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> (scalar: UInt32, length: Int) {
    let first = UInt32(bytes[i])
    if first < 0x80 { return (first, 1) }
    let second = UInt32(bytes[i + 1] & 0x3F)
    if first < 0xE0 { return ((first & 0x1F) << 6 | second, 2) }
    let third = UInt32(bytes[i + 2] & 0x3F)
    if first < 0xF0 { return ((first & 0x0F) << 12 | second << 6 | third, 3) }
    return ((first & 0x07) << 18 | second << 12 | third << 6 | UInt32(bytes[i + 3] & 0x3F), 4)
  }

  /// The scalar that ends before a position > 0 of valid UTF-8, and its length in bytes.
  static func decode(_ bytes: UnsafeBufferPointer<UInt8>, before end: Int) -> (scalar: UInt32, length: Int) {
    var start = end - 1
    while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return (decode(bytes, at: start).scalar, end - start)
  }

  static func append(_ scalar: UInt32, to bytes: inout [UInt8]) {
    switch scalar {
    case 0..<0x80:
      bytes.append(UInt8(scalar))
    case 0x80..<0x800:
      bytes.append(UInt8(0xC0 | scalar >> 6))
      bytes.append(UInt8(0x80 | scalar & 0x3F))
    case 0x800..<0x10000:
      bytes.append(UInt8(0xE0 | scalar >> 12))
      bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
      bytes.append(UInt8(0x80 | scalar & 0x3F))
    default:
      bytes.append(UInt8(0xF0 | scalar >> 18 & 0x07))
      bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
      bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
      bytes.append(UInt8(0x80 | scalar & 0x3F))
    }
  }

  /// The length of a well-formed sequence at a position; 0 where there is none (Unicode table 3-7).
  static func validLength(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> Int {
    let first = bytes[i]
    let length: Int
    switch first {
    case 0..<0x80: return 1
    case 0xC2..<0xE0: length = 2
    case 0xE0..<0xF0: length = 3
    case 0xF0..<0xF5: length = 4
    default: return 0
    }
    guard i + length <= bytes.count else { return 0 }
    for j in 1..<length where bytes[i + j] & 0xC0 != 0x80 { return 0 }
    switch (first, bytes[i + 1]) {
    case (0xE0, ..<0xA0), (0xED, 0xA0...), (0xF0, ..<0x90), (0xF4, 0x90...): return 0
    default: return length
    }
  }

  /// What stands at a position of any bytes: a scalar, part of one that the end cuts off, or bytes that can be none.
  ///
  /// A fault is as long as the maximal part of a scalar there, which is one U+FFFD.             [Unicode] section 3.9
  static func inspect(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> (kind: Sequence, length: Int) {
    let first = bytes[i]
    var second: ClosedRange<UInt8> = 0x80...0xBF
    let length: Int
    switch first {
    case 0..<0x80: return (.scalar, 1)
    case 0xC2..<0xE0: length = 2
    case 0xE0..<0xF0:
      length = 3
      if first == 0xE0 { second = 0xA0...0xBF }
      if first == 0xED { second = 0x80...0x9F }
    case 0xF0..<0xF5:
      length = 4
      if first == 0xF0 { second = 0x90...0xBF }
      if first == 0xF4 { second = 0x80...0x8F }
    default: return (.fault, 1)
    }
    for j in 1..<length {
      guard i + j < bytes.count else { return (.cut, j) }
      guard (j == 1 ? second : 0x80...0xBF).contains(bytes[i + j]) else { return (.fault, j) }
    }
    return (.scalar, length)
  }

  enum Sequence { case scalar, cut, fault }
}
