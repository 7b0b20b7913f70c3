internal import CPlatform
public import HTTPWire

/// Whose certificates a client believes.
public enum ClientTrust: Sendable, Equatable {
  case system
  /// PEM file of authorities (or of the server's own certificate).
  case authorityFile(String)
}

/// An answer read to its end.
public struct ClientResponse: Sendable {
  public let status: Int
  public let fields: HTTPFields
  public let body: [UInt8]

  /// The body as UTF-8, repaired.
  public var text: String { String(decoding: body, as: UTF8.self) }
}

/// A small blocking HTTP/1.1 client over one kept connection: for commands, health checks and tests.
///
/// Not `Sendable`: one owner, one request at a time. SIGPIPE is ignored once a client was made.
public final class HTTPClient {
  private let endpoint: Endpoint
  private let trust: ClientTrust
  private let timeout: Duration
  private let limits: HTTPLimits
  private let fields: [(String, String)]
  private var kept: ClientConnection?

  /// - Parameters:
  ///   - url: `http://host[:port][/base]`, `https://…` or `unix:/path`.
  ///   - fields: sent with every request, a bearer key for one.
  ///   - timeout: for a whole request, connecting included; for an upload, for each piece and for the answer; for a
  ///     stream, between two events.
  /// - Throws: `.invalidURL`. Nothing is connected yet.
  public init(
    url: String, trust: ClientTrust = .system, timeout: Duration = .seconds(30),
    fields: [(String, String)] = [],
    limits: HTTPLimits = HTTPLimits()
  ) throws(ClientError) {
    csystem_ignore_sigpipe()
    endpoint = try Endpoint(url)
    self.trust = trust
    self.timeout = timeout
    self.limits = limits
    self.fields = fields
  }

  /// Sends one request and reads its answer.
  ///
  /// A kept connection that the server closed in the meantime is not used; where it breaks under the request, methods
  /// that may be repeated (RFC 9110 §9.2.2) are, once.
  /// - Parameter path: from the base path on, with its query, escaped.
  public func send(
    _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], body: [UInt8]? = nil,
    timeout: Duration? = nil
  ) throws(ClientError) -> ClientResponse {
    let deadline = Deadline(after: timeout ?? self.timeout)
    let bytes = encode(method, path, fields, body)
    let old = kept
    kept = nil
    if let connection = old, !connection.isStale {
      do throws(ClientError) {
        return try exchange(method, bytes, on: connection, deadline)
      } catch {
        guard case .connectionLost = error, method != .post, method != .patch else { throw error }
      }
    }
    return try exchange(
      method, bytes, on: ClientConnection(endpoint, trust: trust, deadline: deadline), deadline)
  }

  /// Sends a body in chunks as `next` gives them, nil ending it.
  ///
  /// - Throws: `ClientError`, and what `next` throws: the body goes without its end then, so the server takes none of it.
  public func upload(
    _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], next: () throws -> [UInt8]?
  ) throws -> ClientResponse {
    let connection = try ClientConnection(endpoint, trust: trust, deadline: Deadline(after: timeout))
    let head = encode(method, path, fields + [("Transfer-Encoding", "chunked")], nil)
    try connection.send(head[...], deadline: Deadline(after: timeout))
    var isDone = false
    while !isDone {
      let piece = try next()
      isDone = piece == nil
      let chunk = piece.map { ResponseEncoder.chunk($0) } ?? ResponseEncoder.lastChunk
      do throws(ClientError) {
        try connection.send(chunk[...], deadline: Deadline(after: timeout))
      } catch {
        // A refusal may stand before the end of the body: it is worth more than the broken pipe.
        if let early = try? exchange(method, [], on: connection, Deadline(after: timeout)) { return early }
        throw error
      }
    }
    return try exchange(method, [], on: connection, Deadline(after: timeout))
  }

  /// Reads an event stream until it ends or `onEvent` returns false.
  ///
  /// When the connection breaks, the stream is resumed after the last id (`Last-Event-ID`), at most `retries` times in
  /// a row without an event.
  /// - Returns: the last id seen.
  /// - Throws: `.refusedStream` for any status but 200.
  @discardableResult
  public func events(
    _ path: String, fields: [(String, String)] = [], lastEventID: String? = nil, retries: Int = 3,
    onEvent: (ServerSentEvent) -> Bool
  ) throws(ClientError) -> String? {
    var last = lastEventID
    var failures = 0
    while true {
      do throws(ClientError) {
        try stream(.get, path, fields, nil, &last) { event in
          failures = 0
          return onEvent(event)
        }
        return last
      } catch {
        switch error {
        case .connectionLost, .malformedAnswer(.malformed(.truncatedBody, _)), .malformedAnswer(.peerGone):
          failures += 1
          // Without an id the server cannot go on where it was.
          if failures > retries || last == nil { throw error }
        default: throw error
        }
      }
    }
  }

  /// Sends a body and reads the event stream that answers it, until it ends or `onEvent` returns false. It is not resumed.
  ///
  /// - Throws: `.refusedStream` for any status but 200.
  public func events(
    posting body: [UInt8], to path: String, fields: [(String, String)] = [],
    onEvent: (ServerSentEvent) -> Bool
  ) throws(ClientError) {
    var last: String?
    try stream(.post, path, fields, body, &last, onEvent)
  }

  private func stream(
    _ method: HTTPMethod, _ path: String, _ fields: [(String, String)], _ body: [UInt8]?,
    _ last: inout String?, _ onEvent: (ServerSentEvent) -> Bool
  ) throws(ClientError) {
    var all = fields + [("Accept", "text/event-stream")]
    if let last { all.append(("Last-Event-ID", last)) }
    let connection = try ClientConnection(endpoint, trust: trust, deadline: Deadline(after: timeout))
    try connection.send(encode(method, path, all, body)[...], deadline: Deadline(after: timeout))
    var parser = ResponseParser(method: method, limits: limits)
    var events = EventStreamParser(lastEventID: last)
    var status = 0
    var refusal: [UInt8] = []
    while true {
      switch try next(&parser, connection, Deadline(after: timeout)) {
      case .head(let head): status = head.status
      case .body(let bytes):
        guard status == 200 else {
          refusal += bytes
          continue
        }
        let received: [ServerSentEvent]
        do throws(WireError) { received = try events.receive(bytes) } catch { throw .malformedAnswer(error) }
        for event in received {
          last = event.id ?? last
          if !onEvent(event) { return }
        }
      case .end:
        if status != 200 { throw .refusedStream(status: status, body: refusal) }
        return
      case .needMore: break
      }
    }
  }

  private func encode(
    _ method: HTTPMethod, _ path: String, _ fields: [(String, String)], _ body: [UInt8]?
  ) -> [UInt8] {
    RequestEncoder.encode(
      method, target: endpoint.basePath + (path.hasPrefix("/") ? path : "/" + path), host: endpoint.authority,
      fields: self.fields + fields, body: body)
  }

  private func exchange(
    _ method: HTTPMethod, _ bytes: [UInt8], on connection: ClientConnection, _ deadline: Deadline
  ) throws(ClientError) -> ClientResponse {
    var broken: ClientError?
    do throws(ClientError) {
      try connection.send(bytes[...], deadline: deadline)
    } catch {
      // The server may have answered and closed while we still sent (413).
      guard case .connectionLost = error else { throw error }
      broken = error
    }
    var parser = ResponseParser(method: method, limits: limits)
    var head: HTTPResponseHead?
    var body: [UInt8] = []
    while true {
      let event: ResponseParser.Event
      do throws(ClientError) {
        event = try next(&parser, connection, deadline)
      } catch {
        if error == .malformedAnswer(.peerGone) { throw broken ?? .connectionLost(code: 0) }
        throw broken ?? error
      }
      switch event {
      case .head(let answer): head = answer
      case .body(let piece): body += piece
      case .needMore: break
      case .end:
        guard let head else { throw .malformedAnswer(.malformed(.status, offset: 0)) }
        if head.isKeepAlive, broken == nil { kept = connection }
        return ClientResponse(status: head.status, fields: head.fields, body: body)
      }
    }
  }

  /// The parser's next event, reading when it needs more.
  private func next(
    _ parser: inout ResponseParser, _ connection: ClientConnection, _ deadline: Deadline
  ) throws(ClientError) -> ResponseParser.Event {
    while true {
      let event: ResponseParser.Event
      do throws(WireError) { event = try parser.next() } catch { throw .malformedAnswer(error) }
      guard case .needMore = event else { return event }
      let bytes = try connection.receive(deadline: deadline)
      if bytes.isEmpty { parser.finish() } else { parser.append(bytes) }
    }
  }
}
