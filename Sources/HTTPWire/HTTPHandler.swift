/// What a server calls for each request.
public protocol HTTPHandler: Sendable {
  /// Answers one request.
  ///
  /// Runs on the connection's event loop: it must not block or compute for long. Default actors that it awaits run
  /// on the loop too (the Task prefers it); long decoding goes off it by
  /// `await withTaskExecutorPreference(globalConcurrentExecutor) { … }`. The Task is cancelled when the client goes
  /// away; what is returned then is dropped.
  func respond(to request: HTTPRequest) async -> HTTPResponse

  /// Renders the answer to a message that never became a request. The connection closes after it.
  func response(for error: WireError) -> HTTPResponse
}

/// One request: its head, and its body to be pulled.
public struct HTTPRequest: Sendable {
  public let head: HTTPRequestHead
  public let body: HTTPBody
  public let peer: PeerAddress
  /// Whether the connection is TLS.
  public let isSecure: Bool
  /// Unique in the process.
  public let connectionID: UInt64

  public init(
    head: HTTPRequestHead, body: HTTPBody = HTTPBody([]), peer: PeerAddress = .unix, isSecure: Bool = false,
    connectionID: UInt64 = 0
  ) {
    self.head = head
    self.body = body
    self.peer = peer
    self.isSecure = isSecure
    self.connectionID = connectionID
  }
}

/// Who is at the other end of the socket; what proxies say about it is API's to believe.
public enum PeerAddress: Sendable, Hashable, CustomStringConvertible {
  /// Numeric address without brackets.
  case ip(String, port: UInt16)
  case unix

  public var description: String {
    switch self {
    case .ip(let address, let port): address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
    case .unix: "unix"
    }
  }
}
