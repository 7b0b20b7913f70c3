internal import Glibc

/// Where a client connects, from its URL.
struct Endpoint: Sendable, Equatable {
  enum Place: Sendable, Equatable {
    case tcp(host: String, port: String)
    case unix(path: String)
  }

  var place: Place
  var isSecure: Bool
  /// Without a slash at its end.
  var basePath: String

  init(_ url: String) throws(ClientError) {
    isSecure = url.hasPrefix("https://")
    if url.hasPrefix("unix:") {
      var path = String(url.dropFirst(5))
      if path.hasPrefix("//") { path.removeFirst(2) }
      guard path.hasPrefix("/") else { throw .invalidURL(url) }
      place = .unix(path: path)
      basePath = ""
      return
    }
    guard isSecure || url.hasPrefix("http://") else { throw .invalidURL(url) }
    let rest = url.dropFirst(isSecure ? 8 : 7)
    let authority = rest.prefix { $0 != "/" }
    var base = String(rest.dropFirst(authority.count))
    while base.hasSuffix("/") { base.removeLast() }
    basePath = base
    var host = authority
    var port: Substring = isSecure ? "443" : "80"
    let afterBracket = authority.lastIndex(of: "]") ?? authority.startIndex
    if let colon = authority[afterBracket...].lastIndex(of: ":") {
      host = authority[..<colon]
      port = authority[authority.index(after: colon)...]
    }
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard !host.isEmpty, !host.contains("@"), UInt16(port) != nil,
      port.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
    else { throw .invalidURL(url) }
    place = .tcp(host: String(host), port: String(port))
  }

  /// The Host field.
  var authority: String {
    switch place {
    case .unix: return "localhost"
    case .tcp(let host, let port):
      let name = host.contains(":") ? "[\(host)]" : host
      return port == (isSecure ? "443" : "80") ? name : "\(name):\(port)"
    }
  }

  /// A connected non-blocking socket.
  func connect(deadline: Deadline) throws(ClientError) -> Int32 {
    switch place {
    case .unix(let path):
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      let fits = withUnsafeMutableBytes(of: &address.sun_path) { target in
        guard path.utf8.count < target.count else { return false }
        target.copyBytes(from: path.utf8)
        return true
      }
      guard fits else { throw .invalidURL("unix:\(path)") }
      return try withUnsafePointer(to: &address) { (pointer) throws(ClientError) in
        try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { (address) throws(ClientError) in
          try open(AF_UNIX, address, socklen_t(MemoryLayout<sockaddr_un>.size), deadline)
        }
      }
    case .tcp(let host, let port):
      var hints = addrinfo()
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      hints.ai_flags = AI_NUMERICSERV
      var list: UnsafeMutablePointer<addrinfo>?
      guard getaddrinfo(host, port, &hints, &list) == 0 else { throw .unresolvedHost(host) }
      defer { freeaddrinfo(list) }
      var last = ClientError.unresolvedHost(host)
      var next = list
      while let info = next?.pointee {
        do throws(ClientError) {
          let descriptor = try open(info.ai_family, info.ai_addr, info.ai_addrlen, deadline)
          var on: Int32 = 1
          setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
          return descriptor
        } catch {
          last = error
        }
        next = info.ai_next
      }
      throw last
    }
  }

  private func open(
    _ family: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t, _ deadline: Deadline
  ) throws(ClientError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = socket(family, type, 0)
    if descriptor < 0 { throw .unreachable(authority, code: errno) }
    do throws(ClientError) {
      if Glibc.connect(descriptor, address, length) != 0 {
        guard errno == EINPROGRESS else { throw .unreachable(authority, code: errno) }
        try deadline.wait(descriptor, for: POLLOUT)
        var code: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
        if code != 0 { throw .unreachable(authority, code: code) }
      }
    } catch {
      close(descriptor)
      throw error
    }
    return descriptor
  }
}

/// A moment on the monotonic clock until which one may wait.
struct Deadline {
  let instant: ContinuousClock.Instant

  init(after duration: Duration) { instant = ContinuousClock.now + duration }

  /// Waits until the socket is ready.
  func wait(_ descriptor: Int32, for events: Int32) throws(ClientError) {
    while true {
      let (seconds, attoseconds) = (instant - ContinuousClock.now).components
      if seconds < 0 || attoseconds < 0 { throw .timeout }
      let milliseconds = min(seconds, 1_000_000) * 1000 + attoseconds / 1_000_000_000_000_000 + 1
      var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
      let count = poll(&entry, 1, Int32(milliseconds))
      if count > 0 { return }
      if count < 0, errno != EINTR { throw .connectionLost(code: errno) }
    }
  }
}
