/// Head of an answer.
public struct HTTPResponseHead: Sendable {
  public let status: Int
  public let fields: HTTPFields
  /// Whether another request may follow on the connection.
  public let isKeepAlive: Bool
}

/// HTTP/1.1 answers out of a byte stream, for clients. Interim answers (1xx) are passed over.
public struct ResponseParser: Sendable {
  public enum Event: Sendable {
    case needMore
    case head(HTTPResponseHead)
    case body([UInt8])
    case end
  }

  private enum Phase: Sendable {
    case statusLine
    case fields
    case fixed(rest: Int)
    case chunked
    case untilClose
    case end
  }

  private var buffer: [UInt8] = []
  private var position = 0
  private var phase = Phase.statusLine
  private var section: FieldSectionParser
  private var chunks: ChunkedDecoder
  private var status = 0
  private var minor = 1
  private var isClosed = false
  private let isHead: Bool
  private let limits: HTTPLimits

  /// - Parameter method: the request's: an answer to HEAD has no body.
  public init(method: HTTPMethod, limits: HTTPLimits = HTTPLimits()) {
    isHead = method == .head
    self.limits = limits
    section = FieldSectionParser(limit: limits.fields)
    chunks = ChunkedDecoder(limits: limits)
  }

  public mutating func append(_ bytes: some Collection<UInt8>) {
    buffer.append(contentsOf: bytes)
  }

  /// The peer will send no more.
  public mutating func finish() { isClosed = true }

  /// The next event.
  ///
  /// - Throws: `.peerGone` when the connection closed before the head, `.malformed(.truncatedBody)` within the body.
  public mutating func next() throws(WireError) -> Event {
    while true {
      switch phase {
      case .statusLine:
        guard let end = buffer.firstIndex(of: lineFeed) else { return try more() }
        try statusLine(buffer[..<end])
        buffer.removeFirst(end + 1)
        position = 0
        section = FieldSectionParser(limit: limits.fields)
        phase = .fields
      case .fields:
        let input = buffer
        guard try section.parse(input.span, at: &position, upTo: input.count) else { return try more() }
        let fields = HTTPFields(bytes: Array(input[..<position]), entries: section.entries)
        buffer.removeFirst(position)
        position = 0
        if status < 200 {
          phase = .statusLine
          continue
        }
        return .head(try head(fields))
      case .fixed(let rest):
        let count = min(rest, buffer.count)
        if count == 0 { return try more() }
        let piece = Array(buffer[..<count])
        buffer.removeFirst(count)
        phase = rest == count ? .end : .fixed(rest: rest - count)
        return .body(piece)
      case .chunked:
        let input = buffer
        var piece: [UInt8] = []
        let used = try chunks.decode(input.span, from: 0, into: &piece, room: RequestParser.pieceBytes)
        buffer.removeFirst(used)
        if chunks.isFinished { phase = .end }
        if !piece.isEmpty { return .body(piece) }
        if !chunks.isFinished { return try more() }
      case .untilClose:
        if !buffer.isEmpty {
          defer { buffer = [] }
          return .body(buffer)
        }
        guard isClosed else { return .needMore }
        phase = .end
      case .end: return .end
      }
    }
  }

  private func more() throws(WireError) -> Event {
    if isClosed {
      switch phase {
      case .statusLine where buffer.isEmpty: throw .peerGone
      default: throw .malformed(.truncatedBody, offset: buffer.count)
      }
    }
    switch phase {
    case .statusLine, .fields:
      if buffer.count > limits.headBytes { throw .headTooLarge(limitBytes: limits.headBytes) }
    default: break
    }
    return .needMore
  }

  private mutating func statusLine(_ line: ArraySlice<UInt8>) throws(WireError) {
    let text = Array(line)
    let prefix = Array("HTTP/1.".utf8)
    guard text.count >= 13, text.starts(with: prefix), text.last == carriageReturn, text[8] == space,
      text[7] == 0x30 || text[7] == 0x31, let status = FieldRules.decimal(text[9..<12]), status >= 100,
      text[12] == space || text[12] == carriageReturn
    else { throw .malformed(.status, offset: 0) }
    self.status = status
    minor = Int(text[7] - 0x30)
  }

  private mutating func head(_ fields: HTTPFields) throws(WireError) -> HTTPResponseHead {
    var keep = minor > 0
    if fields.hasToken("close", in: "connection") {
      keep = false
    } else if fields.hasToken("keep-alive", in: "connection") {
      keep = true
    }
    if isHead || status == 204 || status == 304 {
      phase = .end
    } else if fields.contains("transfer-encoding") {
      guard fields.hasToken("chunked", in: "transfer-encoding"), !fields.contains("content-length") else {
        throw .malformed(.transferEncoding, offset: 0)
      }
      phase = .chunked
    } else if fields.contains("content-length") {
      guard let text = fields.single("content-length"), let count = FieldRules.decimal(Array(text.utf8)[...])
      else {
        throw .malformed(.contentLength, offset: 0)
      }
      phase = count == 0 ? .end : .fixed(rest: count)
    } else {
      phase = .untilClose
      keep = false
    }
    return HTTPResponseHead(status: status, fields: fields, isKeepAlive: keep)
  }
}
