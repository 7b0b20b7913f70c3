/// An answer, before it is bytes. Content-Length, Transfer-Encoding, Date and Connection are the encoder's own.
public struct HTTPResponse: Sendable {
  public enum Body: Sendable {
    case empty
    case bytes([UInt8])
    /// Runs after the head was written; chunked on HTTP/1.1, ended by closing on HTTP/1.0. Not run for HEAD.
    /// A thrown error ends the stream without its last chunk, so that the client sees it broken.
    case stream(@Sendable (any ResponseWriter) async throws -> Void)
  }

  /// 200...599.
  public var status: Int
  /// In order; a CR, LF or NUL in a name or value is written as a space.
  public var fields: [(String, String)]
  public var body: Body

  public init(status: Int, fields: [(String, String)] = [], body: Body = .empty) {
    self.status = status
    self.fields = fields
    self.body = body
  }

  /// An answer whose body is produced while it is sent.
  public static func stream(
    status: Int = 200, _ fields: [(String, String)],
    _ producer: @escaping @Sendable (any ResponseWriter) async throws -> Void
  ) -> HTTPResponse {
    HTTPResponse(status: status, fields: fields, body: .stream(producer))
  }
}

/// Takes the bytes of a streamed body.
public protocol ResponseWriter: Sendable {
  /// Returns when the kernel took the bytes: a slow reader holds the producer, and nothing piles up.
  ///
  /// - Throws: `.peerGone` when the client left or took nothing for the write time.
  func write(_ bytes: [UInt8]) async throws(WireError)
}
