internal import COpenSSL

/// A SHA-256 value: 32 bytes, written `sha256:<64 lower-case hex digits>`.
public struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
  private let first: UInt64
  private let second: UInt64
  private let third: UInt64
  private let fourth: UInt64

  /// - Precondition: `bytes` holds exactly 32 bytes.
  public init(bytes: [UInt8]) {
    precondition(bytes.count == Digest.byteCount, "a digest has 32 bytes")
    func word(_ index: Int) -> UInt64 {
      bytes[index * 8..<index * 8 + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }
    first = word(0)
    second = word(1)
    third = word(2)
    fourth = word(3)
  }

  /// Reads `sha256:<hex>`, exactly as `description` writes it; anything else gives nil.
  public init?(_ text: String) {
    let prefix = Array("sha256:".utf8)
    let given = Array(text.utf8)
    guard given.count == prefix.count + 2 * Digest.byteCount, given.starts(with: prefix) else { return nil }
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in given.dropFirst(prefix.count) {
      let value: UInt8
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
      default: return nil
      }
      if let upper = high {
        bytes.append(upper << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    self.init(bytes: bytes)
  }

  /// Length of a digest in bytes.
  public static let byteCount = 32

  /// The 32 bytes in order.
  public var bytes: [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(Digest.byteCount)
    for word in [first, second, third, fourth] {
      for shift in stride(from: 56, through: 0, by: -8) {
        result.append(UInt8(truncatingIfNeeded: word >> shift))
      }
    }
    return result
  }

  /// The 64 lower-case hex digits without the prefix.
  public var hex: String { Digest.hex(bytes) }

  public var description: String { "sha256:" + hex }

  /// Byte order.
  public static func < (left: Digest, right: Digest) -> Bool {
    (left.first, left.second, left.third, left.fourth) < (
      right.first, right.second, right.third, right.fourth
    )
  }

  /// SHA-256 of the bytes at once.
  public static func sha256(of bytes: UnsafeRawBufferPointer) -> Digest {
    var stream = SHA256Stream()
    stream.update(bytes)
    return stream.finalize()
  }

  /// SHA-256 of the bytes at once.
  public static func sha256(of bytes: [UInt8]) -> Digest {
    bytes.withUnsafeBytes { sha256(of: $0) }
  }

  /// SHA-256 of the text's UTF-8.
  public static func sha256(of text: String) -> Digest { sha256(of: Array(text.utf8)) }

  /// HMAC-SHA-256 (RFC 2104) of `message` under `key`.
  public static func hmacSHA256(key: [UInt8], message: [UInt8]) -> Digest {
    var output = [UInt8](repeating: 0, count: byteCount)
    var length: UInt32 = 0
    let result = output.withUnsafeMutableBufferPointer { out in
      HMAC(EVP_sha256(), key, Int32(key.count), message, message.count, out.baseAddress, &length)
    }
    precondition(result != nil && Int(length) == byteCount, "OpenSSL has no SHA-256")
    return Digest(bytes: output)
  }

  /// Lower-case hex of any bytes.
  public static func hex(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 2)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}
