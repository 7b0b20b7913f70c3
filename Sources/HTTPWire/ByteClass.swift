/// A set of ASCII bytes as two masks: one shift and one test a byte.
struct ByteClass: Sendable {
  let low: UInt64
  let high: UInt64

  @inline(__always)
  func contains(_ byte: UInt8) -> Bool {
    byte < 128 && ((byte < 64 ? low : high) >> UInt64(byte & 63)) & 1 == 1
  }

  /// tchar, RFC 9110 §5.6.2.
  static var token: ByteClass { ByteClass(low: 0x03ff6cfa00000000, high: 0x57ffffffc7fffffe) }

  /// What a request target may hold: visible ASCII without `"`, `#`, `<`, `>`, `\` and `%`, which is checked apart.
  /// RFC 3986 excludes a few more (`{`, `|`, `}`, `^`, and a backtick) that clients send raw.
  static var target: ByteClass { ByteClass(low: 0xafffffd200000000, high: 0x7fffffffefffffff) }

  /// uri-host and port, RFC 3986 §3.2.2, without the comma, which only joined Host fields hold.
  static var host: ByteClass { ByteClass(low: 0x2fff6ff200000000, high: 0x47fffffeaffffffe) }

  /// field-vchar, RFC 9110 §5.5: visible ASCII and obs-text.
  @inline(__always)
  static func isFieldCharacter(_ byte: UInt8) -> Bool { byte > 0x20 && byte != 0x7f }

  @inline(__always)
  static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  /// Value of a hex digit, nil for anything else.
  @inline(__always)
  static func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
  }

  @inline(__always)
  static func lowercased(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte }
}

let carriageReturn: UInt8 = 0x0d
let lineFeed: UInt8 = 0x0a
let space: UInt8 = 0x20
