internal import COpenSSL
internal import Glibc

/// One connection of a client, blocking up to a deadline.
final class ClientConnection {
  private let descriptor: Int32
  private var session: OpaquePointer?

  init(_ endpoint: Endpoint, trust: ClientTrust, deadline: Deadline) throws(ClientError) {
    descriptor = try endpoint.connect(deadline: deadline)
    if endpoint.isSecure, case .tcp(let host, _) = endpoint.place {
      try handshake(host: host, trust: trust, deadline: deadline)
    }
  }

  deinit {
    if let session {
      SSL_shutdown(session)
      SSL_free(session)
    }
    close(descriptor)
  }

  /// Whether the server closed (or spoke out of turn) since the last answer.
  var isStale: Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, 0) != 0
  }

  func send(_ bytes: ArraySlice<UInt8>, deadline: Deadline) throws(ClientError) {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { buffer -> Int in
        guard let session else {
          return Glibc.send(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
        }
        ERR_clear_error()
        return Int(SSL_write(session, buffer.baseAddress, Int32(clamping: buffer.count)))
      }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else {
        try wait(count, or: POLLOUT, deadline)
      }
    }
  }

  /// Some bytes; empty when the server finished.
  func receive(deadline: Deadline) throws(ClientError) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = buffer.withUnsafeMutableBytes { buffer -> Int in
        guard let session else { return recv(descriptor, buffer.baseAddress, buffer.count, 0) }
        ERR_clear_error()
        return Int(SSL_read(session, buffer.baseAddress, Int32(clamping: buffer.count)))
      }
      if count > 0 { return Array(buffer[..<count]) }
      if let session {
        if SSL_get_error(session, Int32(count)) == SSL_ERROR_ZERO_RETURN { return [] }
      } else if count == 0 {
        return []
      }
      try wait(count, or: POLLIN, deadline)
    }
  }

  private func wait(_ result: Int, or events: Int32, _ deadline: Deadline) throws(ClientError) {
    guard let session else {
      guard errno == EAGAIN || errno == EINTR else { throw .connectionLost(code: errno) }
      return try deadline.wait(descriptor, for: events)
    }
    let code = errno
    switch SSL_get_error(session, Int32(result)) {
    case SSL_ERROR_WANT_READ: try deadline.wait(descriptor, for: POLLIN)
    case SSL_ERROR_WANT_WRITE: try deadline.wait(descriptor, for: POLLOUT)
    case SSL_ERROR_SSL:
      // An end without close_notify: the stream broke, the certificate is not at fault.
      let isEnd = ERR_peek_error() & 0x7f_ffff == UInt(SSL_R_UNEXPECTED_EOF_WHILE_READING)
      throw isEnd ? .connectionLost(code: 0) : .tls(reason: ClientConnection.reason())
    default: throw .connectionLost(code: code)
    }
  }

  private func handshake(host: String, trust: ClientTrust, deadline: Deadline) throws(ClientError) {
    guard let context = SSL_CTX_new(TLS_client_method()) else {
      throw .tls(reason: ClientConnection.reason())
    }
    defer { SSL_CTX_free(context) }
    // The set_* macros are not imported: these are their calls.
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    let modes = Int(SSL_MODE_ENABLE_PARTIAL_WRITE) | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
    SSL_CTX_ctrl(context, SSL_CTRL_MODE, modes, nil)
    switch trust {
    case .system: SSL_CTX_set_default_verify_paths(context)
    case .authorityFile(let path):
      guard SSL_CTX_load_verify_locations(context, path, nil) == 1 else {
        throw .tls(reason: "\(path): \(ClientConnection.reason())")
      }
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
    guard let session = SSL_new(context) else { throw .tls(reason: ClientConnection.reason()) }
    self.session = session
    SSL_set_fd(session, descriptor)
    var address = in6_addr()
    let isNumeric = inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1
    let isChecked: Bool
    if isNumeric {
      isChecked = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host) == 1
    } else {
      var name = Array(host.utf8CString)
      SSL_ctrl(session, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), &name)
      isChecked = SSL_set1_host(session, host) == 1
    }
    guard isChecked else { throw .tls(reason: "the host name cannot be checked") }
    SSL_set_connect_state(session)
    while true {
      ERR_clear_error()
      let result = SSL_do_handshake(session)
      if result == 1 { return }
      let verdict = SSL_get_verify_result(session)
      if SSL_get_error(session, result) == SSL_ERROR_SSL, verdict != Int(X509_V_OK) {
        throw .tls(reason: String(cString: X509_verify_cert_error_string(verdict)))
      }
      try wait(Int(result), or: POLLIN, deadline)
    }
  }

  private static func reason() -> String {
    let code = ERR_get_error()
    guard code != 0 else { return "unknown" }
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(code, &text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
