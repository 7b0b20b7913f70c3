internal import COpenSSL

/// True when both hold the same bytes; the time depends on their lengths alone.
public func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
  guard left.count == right.count else { return false }
  return left.isEmpty || CRYPTO_memcmp(left, right, left.count) == 0
}

/// Bytes from OpenSSL's generator, fit for keys.
public enum RandomBytes {
  /// - Precondition: the generator is seeded, which OpenSSL does from the kernel.
  public static func make(count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    precondition(RAND_bytes(&bytes, Int32(count)) == 1, "the random generator is not seeded")
    return bytes
  }
}
