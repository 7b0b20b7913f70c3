internal import HTTPWire
internal import Synchronization

/// A request's body as its connection reads it.
struct ConnectionBody: HTTPBodySource {
  let connection: Connection
  let request: UInt64

  func next() async throws(WireError) -> [UInt8]? {
    try await connection.nextPiece(of: request)
  }
}

/// A streamed answer's way to its connection.
struct ConnectionWriter: ResponseWriter {
  let connection: Connection
  let request: UInt64
  let isChunked: Bool

  func write(_ bytes: [UInt8]) async throws(WireError) {
    if bytes.isEmpty { return }
    try await connection.write(isChunked ? ResponseEncoder.chunk(bytes) : bytes, of: request)
  }
}

extension Connection {
  /// Waiting time is given anew for each so many bytes of a body.
  private static let progressBytes = 16 * 1024

  /// The body of a request whose head was read: what came with it needs no way back to the connection.
  func body(of head: HTTPRequestHead) -> HTTPBody {
    let length = head.contentLength
    if !bodyIsDone, let length, length <= min(parser.bufferedCount, RequestParser.pieceBytes),
      case .body(let bytes)? = try? parser.next(), case .end? = try? parser.next()
    {
      bodyIsDone = true
      mustSendContinue = false
      return HTTPBody(bytes)
    }
    return HTTPBody(source: ConnectionBody(connection: self, request: request), declaredLength: length)
  }

  /// The next bytes of the body of a request that is still being answered.
  func nextPiece(of number: UInt64) async throws(WireError) -> [UInt8]? {
    guard number == request else { throw .peerGone }
    if let bodyFailure { throw bodyFailure }
    do throws(WireError) {
      return try await piece()
    } catch {
      bodyFailure = error
      throw error
    }
  }

  private func piece() async throws(WireError) -> [UInt8]? {
    while !bodyIsDone {
      switch try parser.next() {
      case .body(let bytes):
        mustSendContinue = false
        bodyProgress += bytes.count
        if bodyProgress >= Connection.progressBytes {
          bodyProgress = 0
          bodyBudget = times.body
        }
        // The end behind the last byte is known now: no second call is needed for the connection to go on.
        if parser.bodyRest == 0, case .end = try parser.next() { bodyIsDone = true }
        return bytes
      case .end: bodyIsDone = true
      case .head: throw .peerGone
      case .needMore:
        if mustSendContinue {
          mustSendContinue = false
          try await sendUnsent()
          try await send(ResponseEncoder.interimContinue)
        }
        try await readBody()
      }
    }
    return nil
  }

  private func readBody() async throws(WireError) {
    let start = loop.now
    setReadDeadline(start + bodyBudget)
    let outcome = await fill()
    setReadDeadline(.max)
    bodyBudget -= loop.now - start
    switch outcome {
    case .bytes: return
    case .end: throw .malformed(.truncatedBody, offset: 0)
    case .gone, .drained: throw .peerGone
    case .timeout:
      loop.counters.timeouts.wrappingAdd(1, ordering: .relaxed)
      throw .bodyTimeout
    }
  }

  /// Reads the rest of a body that the handler left; false when it is too long.
  func skipBody() async -> Bool {
    var skipped = 0
    do throws(WireError) {
      while let bytes = try await nextPiece(of: request) {
        skipped += bytes.count
        if skipped > limits.drainBytes { return false }
      }
      return true
    } catch {
      return false
    }
  }

  func write(_ bytes: [UInt8], of number: UInt64) async throws(WireError) {
    guard number == request else { throw .peerGone }
    try await send(bytes)
  }
}
