public import HTTPWire

/// Where to listen.
public enum ListenAddress: Sendable, Equatable {
  /// A numeric address or a name; port 0 lets the kernel choose.
  case tcp(host: String, port: UInt16)
  /// A file that is made with `unixMode` and removed by the drain.
  case unix(path: String)
  /// A socket that listens already, handed over by the service manager.
  case descriptor(Int32)

  /// Reads `HOST:PORT`, `[V6]:PORT` or `unix:PATH`.
  public init?(_ text: String) {
    if text.hasPrefix("unix:") {
      let path = text.dropFirst(5)
      if path.isEmpty { return nil }
      self = .unix(path: String(path))
      return
    }
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = UInt16(digits)
    else {
      return nil
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty else { return nil }
    self = .tcp(host: String(host), port: port)
  }

  /// The sockets of `LISTEN_FDS` (sd_listen_fds(3)): none unless `LISTEN_PID` is this process.
  public static func inherited(environment: [String: String], processID: Int32) -> [ListenAddress] {
    guard environment["LISTEN_PID"] == String(processID),
      let count = environment["LISTEN_FDS"].flatMap({ Int32($0) }),
      count > 0, count < 1024
    else { return [] }
    return (3..<3 + count).map { .descriptor($0) }
  }
}

/// Certificate and key for the TCP and inherited listeners; unix sockets stay plain.
public struct TLSConfiguration: Sendable, Equatable {
  /// PEM, leaf first.
  public var certificateChainPath: String
  /// PEM, without a passphrase.
  public var privateKeyPath: String

  public init(certificateChainPath: String, privateKeyPath: String) {
    self.certificateChainPath = certificateChainPath
    self.privateKeyPath = privateKeyPath
  }
}

public struct HTTPServerConfiguration: Sendable {
  public var listeners: [ListenAddress]
  public var tls: TLSConfiguration?
  /// Event loops, a thread each; at least 1.
  public var loops: Int
  public var limits: HTTPLimits
  /// Connections that the kernel holds before they are accepted.
  public var backlog: Int32
  /// Permission bits of unix sockets.
  public var unixMode: UInt32
  /// How long a kept connection may still bring a request when the server drains: a client that sends one just then is
  /// answered instead of reset.
  public var drainIdleTime: Duration

  public init(
    listeners: [ListenAddress], tls: TLSConfiguration? = nil, loops: Int = 1,
    limits: HTTPLimits = HTTPLimits(),
    backlog: Int32 = 1024, unixMode: UInt32 = 0o660, drainIdleTime: Duration = .milliseconds(500)
  ) {
    self.listeners = listeners
    self.tls = tls
    self.loops = loops
    self.limits = limits
    self.backlog = backlog
    self.unixMode = unixMode
    self.drainIdleTime = drainIdleTime
  }
}

/// Where a listener ended up.
public enum BoundAddress: Sendable, Equatable, CustomStringConvertible {
  case tcp(host: String, port: UInt16)
  case unix(path: String)

  public var description: String {
    switch self {
    case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
}

/// Why a server could not start.
public enum ServerError: Error, Equatable, Sendable {
  /// Somebody listens there already.
  case addressInUse(String)
  case unresolvedHost(String)
  /// The system refused a call; `code` is its errno.
  case system(call: String, code: Int32)
  /// A unix path above what an address holds.
  case pathTooLong(String)
  /// Certificate or key unreadable, or they do not belong together; `reason` is OpenSSL's.
  case tls(path: String, reason: String)
  case notListening(descriptor: Int32)
}

/// Counters since the start, all loops together.
public struct HTTPServerMetrics: Sendable, Equatable {
  /// Connections open now.
  public var openConnections = 0
  public var acceptedConnections = 0
  /// Refused by the connection limit.
  public var refusedConnections = 0
  public var requests = 0
  /// Messages that never became a request.
  public var malformedRequests = 0
  /// Connections closed by a timeout.
  public var timeouts = 0
  /// Clients that left before their answer.
  public var abandonedRequests = 0
  public var bytesReceived = 0
  public var bytesSent = 0

  public init() {}
}
