/// Bounds on what a peer may send and how long it may take.
public struct HTTPLimits: Sendable, Equatable {
  /// Bytes of a head, from the first byte to the empty line; also of a chunked body's trailers.
  public var headBytes = 16 * 1024
  /// Field lines in a head or in trailers.
  public var fields = 100
  /// Bytes of a request target.
  public var targetBytes = 8 * 1024
  /// Bytes of any body, whatever the handler allows.
  public var bodyBytes = 1 << 30
  /// Bytes of chunk extensions in one body.
  public var chunkExtensionBytes = 16 * 1024
  /// Unread body bytes that are read and thrown away so that the connection can go on.
  public var drainBytes = 64 * 1024
  /// Connections at once, all loops together.
  public var connections = 4096
  /// A connection without a request in progress is closed after this.
  public var idleTime: Duration = .seconds(75)
  /// From a head's first byte to its last (and the TLS handshake).
  public var headTime: Duration = .seconds(10)
  /// Waiting time allowed for each 16 KB of a body, or its end.
  public var bodyTime: Duration = .seconds(30)
  /// The peer takes nothing of an answer for this long.
  public var writeTime: Duration = .seconds(30)

  public init() {}
}
