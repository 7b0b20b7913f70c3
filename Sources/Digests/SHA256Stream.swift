internal import COpenSSL

/// SHA-256 over bytes that arrive in pieces. A copy goes on by itself from where it was taken.
///
/// Not `Sendable`: one owner feeds it.
public struct SHA256Stream {
  private final class Context {
    let pointer: OpaquePointer

    init() {
      guard let pointer = EVP_MD_CTX_new(), EVP_DigestInit_ex(pointer, EVP_sha256(), nil) == 1 else {
        preconditionFailure("OpenSSL has no SHA-256")
      }
      self.pointer = pointer
    }

    init(copying other: Context) {
      guard let pointer = EVP_MD_CTX_new(), EVP_MD_CTX_copy_ex(pointer, other.pointer) == 1 else {
        preconditionFailure("OpenSSL could not copy a digest context")
      }
      self.pointer = pointer
    }

    deinit { EVP_MD_CTX_free(pointer) }
  }

  private var context = Context()

  public init() {}

  /// Adds the bytes.
  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    if !isKnownUniquelyReferenced(&context) { context = Context(copying: context) }
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    precondition(EVP_DigestUpdate(context.pointer, base, bytes.count) == 1, "EVP_DigestUpdate failed")
  }

  /// Adds the bytes.
  public mutating func update(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { update($0) }
  }

  /// The digest of everything added so far; more may be added afterwards.
  public func finalize() -> Digest {
    let last = Context(copying: context)
    var output = [UInt8](repeating: 0, count: Digest.byteCount)
    var length: UInt32 = 0
    let result = EVP_DigestFinal_ex(last.pointer, &output, &length)
    precondition(result == 1 && Int(length) == Digest.byteCount, "EVP_DigestFinal_ex failed")
    return Digest(bytes: output)
  }
}
