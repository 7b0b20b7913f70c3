internal import COpenSSL
internal import Glibc

/// A server's certificate, key and rules for TLS; shared by all loops.
// SAFETY: immutable after init · OpenSSL counts references to SSL_CTX atomically and locks what SSL_new reads.
final class TLSContext: @unchecked Sendable {
  private let context: OpaquePointer

  init(_ configuration: TLSConfiguration) throws(ServerError) {
    guard let context = SSL_CTX_new(TLS_server_method()) else {
      throw .tls(path: configuration.certificateChainPath, reason: TLSContext.reason())
    }
    self.context = context
    // The set_* macros are not imported: these are their calls.
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    let modes =
      Int(SSL_MODE_ENABLE_PARTIAL_WRITE) | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
      | Int(SSL_MODE_RELEASE_BUFFERS)
    SSL_CTX_ctrl(context, SSL_CTRL_MODE, modes, nil)
    ERR_clear_error()
    guard SSL_CTX_use_certificate_chain_file(context, configuration.certificateChainPath) == 1 else {
      throw .tls(path: configuration.certificateChainPath, reason: TLSContext.reason())
    }
    guard SSL_CTX_use_PrivateKey_file(context, configuration.privateKeyPath, SSL_FILETYPE_PEM) == 1,
      SSL_CTX_check_private_key(context) == 1
    else { throw .tls(path: configuration.privateKeyPath, reason: TLSContext.reason()) }
    SSL_CTX_set_alpn_select_cb(
      context,
      { _, chosen, chosenLength, offered, offeredLength, _ in
        // RFC 7301: length-prefixed names; http/1.1 is the only one spoken here.
        let wanted = Array("http/1.1".utf8)
        guard let offered else { return SSL_TLSEXT_ERR_NOACK }
        var index = 0
        while index < Int(offeredLength) {
          let length = Int(offered[index])
          guard index + 1 + length <= Int(offeredLength) else { break }
          let name = UnsafeBufferPointer(start: offered + index + 1, count: length)
          if name.elementsEqual(wanted) {
            chosen?.pointee = offered + index + 1
            chosenLength?.pointee = UInt8(length)
            return SSL_TLSEXT_ERR_OK
          }
          index += 1 + length
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
      }, nil)
  }

  deinit { SSL_CTX_free(context) }

  /// A session over a connected socket, freed by its owner with `SSL_free`; nil when memory is out.
  func session(descriptor: Int32) -> OpaquePointer? {
    guard let session = SSL_new(context) else { return nil }
    SSL_set_fd(session, descriptor)
    SSL_set_accept_state(session)
    return session
  }

  private static func reason() -> String {
    let code = ERR_get_error()
    guard code != 0 else { return "unknown" }
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(code, &text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
