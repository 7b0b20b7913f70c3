/// GPT-2's way to write any bytes as visible characters: one character below U+0144 for each byte.     [Radford19]
enum ByteAlphabet {
  /// The character of each byte.
  static let scalars: [UInt32] = {
    var table = [UInt32](repeating: 0, count: 256)
    var next: UInt32 = 256
    for byte in 0..<256 {
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: table[byte] = UInt32(byte)
      default:
        table[byte] = next
        next += 1
      }
    }
    return table
  }()

  /// The byte of each character; -1 where it stands for none.
  static let bytes: [Int16] = {
    var table = [Int16](repeating: -1, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = Int16(byte) }
    return table
  }()

  /// Appends the characters of bytes, as UTF-8.
  static func write(_ text: UnsafeBufferPointer<UInt8>, to result: inout [UInt8]) {
    for byte in text { UTF8Scalars.append(scalars[Int(byte)], to: &result) }
  }

  /// The bytes that a token stands for; nil where a character stands for none.
  static func read(_ token: ArraySlice<UInt8>) -> [UInt8]? {
    token.withUnsafeBufferPointer { token in
      var result: [UInt8] = []
      result.reserveCapacity(token.count)
      var i = 0
      while i < token.count {
        let (scalar, length) = UTF8Scalars.decode(token, at: i)
        guard scalar < 0x144, bytes[Int(scalar)] >= 0 else { return nil }
        result.append(UInt8(bytes[Int(scalar)]))
        i += length
      }
      return result
    }
  }
}
