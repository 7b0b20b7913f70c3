internal import COpenSSL
internal import Glibc

/// A non-blocking socket, with or without TLS. Its owner is one connection.
struct Transport {
  enum Outcome {
    case bytes(Int)
    case wouldBlock
    /// The peer finished its side.
    case end
    case failed
  }

  let descriptor: Int32
  /// An SSL session, freed by `close`.
  let session: OpaquePointer?

  func read(into buffer: UnsafeMutableRawBufferPointer) -> Outcome {
    guard let session else {
      let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      if count > 0 { return .bytes(count) }
      return count == 0 ? .end : blocked()
    }
    ERR_clear_error()
    let count = SSL_read(session, buffer.baseAddress, Int32(clamping: buffer.count))
    return count > 0 ? .bytes(Int(count)) : secured(count)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    guard let session else {
      let count = send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
      return count >= 0 ? .bytes(count) : blocked()
    }
    ERR_clear_error()
    let count = SSL_write(session, bytes.baseAddress, Int32(clamping: bytes.count))
    return count > 0 ? .bytes(Int(count)) : secured(count)
  }

  /// Goes on with the TLS handshake; `.bytes` when it is done.
  func handshake() -> Outcome {
    guard let session else { return .bytes(0) }
    ERR_clear_error()
    let result = SSL_do_handshake(session)
    return result == 1 ? .bytes(0) : secured(result)
  }

  /// Tells the peer that nothing more is sent; reading goes on.
  func finishWriting() {
    if let session { SSL_shutdown(session) }
    shutdown(descriptor, Int32(SHUT_WR))
  }

  /// - Parameter isComplete: whether all that was to be sent was; else a TLS peer gets no close_notify.
  func close(isComplete: Bool) {
    if let session {
      if isComplete, SSL_is_init_finished(session) == 1 { SSL_shutdown(session) }
      SSL_free(session)
    }
    Glibc.close(descriptor)
  }

  /// Makes the close a reset: the only way to say on a plain socket that a stream without a length is not complete.
  func makeCloseReset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  private func blocked() -> Outcome {
    errno == EAGAIN || errno == EINTR ? .wouldBlock : .failed
  }

  private func secured(_ result: Int32) -> Outcome {
    switch SSL_get_error(session, result) {
    case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: .wouldBlock
    case SSL_ERROR_ZERO_RETURN: .end
    default: .failed
    }
  }
}
