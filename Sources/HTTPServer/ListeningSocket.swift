internal import CPlatform
internal import Glibc
internal import HTTPWire

/// Sockets that listen.
enum ListeningSocket {
  /// One socket per loop on one TCP address.
  ///
  /// The first is bound without `SO_REUSEPORT`, which fails if anyone holds the address, another daemon's shared
  /// sockets too; the option is set on it afterwards, so that our others may join and nobody's first socket can.
  static func tcp(
    host: String, port: UInt16, count: Int, backlog: Int32
  ) throws(ServerError) -> (sockets: [Int32], address: BoundAddress) {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, String(port), &hints, &list) == 0, let info = list?.pointee else {
      throw .unresolvedHost(host)
    }
    defer { freeaddrinfo(list) }
    var storage = sockaddr_storage()
    withUnsafeMutableBytes(of: &storage) {
      $0.copyMemory(from: .init(start: info.ai_addr, count: Int(info.ai_addrlen)))
    }
    var sockets: [Int32] = []
    do throws(ServerError) {
      let first = try make(family: info.ai_family)
      sockets.append(first)
      try set(first, SOL_SOCKET, SO_REUSEADDR)
      try bind(first, &storage, info.ai_addrlen, name: "\(host):\(port)")
      try set(first, SOL_SOCKET, SO_REUSEPORT)
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      withSocketAddress(&storage) { _ = getsockname(first, $0, &length) }
      for _ in 1..<max(1, count) {
        let next = try make(family: info.ai_family)
        sockets.append(next)
        try set(next, SOL_SOCKET, SO_REUSEADDR)
        try set(next, SOL_SOCKET, SO_REUSEPORT)
        try bind(next, &storage, length, name: "\(host):\(port)")
      }
      for socket in sockets {
        // Accepted sockets inherit it.
        try set(socket, Int32(IPPROTO_TCP), TCP_NODELAY)
        guard listen(socket, backlog) == 0 else { throw failure("listen", name: "\(host):\(port)") }
      }
    } catch {
      for socket in sockets { close(socket) }
      throw error
    }
    return (sockets, address(&storage))
  }

  /// A unix socket; a file that nobody listens on is replaced.
  static func unix(path: String, mode: UInt32, backlog: Int32) throws(ServerError) -> Int32 {
    var address = sockaddr_un()
    guard fill(&address, path) else { throw .pathTooLong(path) }
    if isListening(&address) { throw .addressInUse("unix:\(path)") }
    var status = stat()
    if lstat(path, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFSOCK else { throw .addressInUse("unix:\(path)") }
      unlink(path)
    }
    let descriptor = try make(family: AF_UNIX)
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    // Nobody can connect before listen, so the mode holds from the start.
    guard bound == 0, chmod(path, mode) == 0, listen(descriptor, backlog) == 0 else {
      let error = failure("bind", name: "unix:\(path)")
      close(descriptor)
      throw error
    }
    return descriptor
  }

  /// Takes over a socket that listens already.
  static func inherited(_ descriptor: Int32) throws(ServerError) -> BoundAddress {
    var isListening: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0, isListening == 1
    else {
      throw .notListening(descriptor: descriptor)
    }
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    var storage = sockaddr_storage()
    length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    withSocketAddress(&storage) { _ = getsockname(descriptor, $0, &length) }
    if Int32(storage.ss_family) != AF_UNIX { try? set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY) }
    return address(&storage)
  }

  /// The peer of an accepted socket.
  static func peer(_ descriptor: Int32) -> PeerAddress {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    guard withSocketAddress(&storage, { getpeername(descriptor, $0, &length) }) == 0 else { return .unix }
    switch address(&storage) {
    case .tcp(let host, let port): return .ip(host, port: port)
    case .unix: return .unix
    }
  }

  private static func make(family: Int32) throws(ServerError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = socket(family, type, 0)
    if descriptor < 0 { throw .system(call: "socket", code: errno) }
    return descriptor
  }

  private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32) throws(ServerError) {
    var on: Int32 = 1
    guard setsockopt(descriptor, level, option, &on, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
      throw .system(call: "setsockopt", code: errno)
    }
  }

  private static func bind(
    _ descriptor: Int32, _ storage: inout sockaddr_storage, _ length: socklen_t, name: String
  ) throws(ServerError) {
    if withSocketAddress(&storage, { Glibc.bind(descriptor, $0, length) }) != 0 {
      throw failure("bind", name: name)
    }
  }

  private static func failure(_ call: String, name: String) -> ServerError {
    errno == EADDRINUSE ? .addressInUse(name) : .system(call: call, code: errno)
  }

  private static func isListening(_ address: inout sockaddr_un) -> Bool {
    let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(probe) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(probe, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    return result == 0
  }

  private static func fill(_ address: inout sockaddr_un, _ path: String) -> Bool {
    address.sun_family = sa_family_t(AF_UNIX)
    return withUnsafeMutableBytes(of: &address.sun_path) { target in
      guard !path.isEmpty, path.utf8.count < target.count else { return false }
      target.copyBytes(from: path.utf8)
      return true
    }
  }

  private static func withSocketAddress<R>(
    _ storage: inout sockaddr_storage, _ body: (UnsafeMutablePointer<sockaddr>) -> R
  ) -> R {
    withUnsafeMutablePointer(to: &storage) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body) }
  }

  private static func address(_ storage: inout sockaddr_storage) -> BoundAddress {
    switch Int32(storage.ss_family) {
    case AF_INET, AF_INET6:
      var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      let length =
        Int32(storage.ss_family) == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
      let port = withUnsafeBytes(of: &storage) {
        UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
      }
      withSocketAddress(&storage) {
        _ = getnameinfo($0, socklen_t(length), &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST)
      }
      return .tcp(host: text(host), port: port)
    default:
      let path = withUnsafeBytes(of: &storage) { bytes in
        String(decoding: bytes.dropFirst(2).prefix { $0 != 0 }, as: UTF8.self)
      }
      return .unix(path: path)
    }
  }

  private static func text(_ characters: [CChar]) -> String {
    String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
