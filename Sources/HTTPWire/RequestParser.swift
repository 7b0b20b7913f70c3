/// HTTP/1.1 requests out of a byte stream: bytes in by `append`, values out by `next`; no sockets, no clocks.
///
/// Nothing behind a request's end is looked at before `next` is called again, so pipelined requests wait their turn.
public struct RequestParser: Sendable {
  public enum Event: Sendable {
    /// Nothing more without more bytes.
    case needMore
    case head(HTTPRequestHead)
    /// At most `RequestParser.pieceBytes`, never empty.
    case body([UInt8])
    /// The request is complete; the next call starts another.
    case end
  }

  private enum Phase: Sendable {
    case head
    case fixed(rest: Int)
    case chunked
    case end
  }

  /// Largest piece of a body handed out at once.
  public static let pieceBytes = 64 * 1024

  private var buffer: [UInt8] = []
  private var start = 0
  private var phase = Phase.head
  private var scanner: RequestHeadScanner
  private var chunks: ChunkedDecoder
  private var failure: WireError?
  private let limits: HTTPLimits

  public init(limits: HTTPLimits = HTTPLimits()) {
    self.limits = limits
    scanner = RequestHeadScanner(limits: limits)
    chunks = ChunkedDecoder(limits: limits)
  }

  /// Adds what was read from the peer.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    compact()
    buffer.append(contentsOf: bytes)
  }

  /// Adds what was read from the peer.
  public mutating func append(_ bytes: some Collection<UInt8>) {
    compact()
    buffer.append(contentsOf: bytes)
  }

  /// Bytes held and not yet used.
  public var bufferedCount: Int { buffer.count - start }

  /// Whether the parser stands between two requests and holds no byte of the next.
  public var isIdle: Bool {
    if case .head = phase { !scanner.hasBegun && bufferedCount == 0 } else { false }
  }

  /// Bytes of the current body still to come; nil for a chunked one.
  public var bodyRest: Int? {
    switch phase {
    case .fixed(let rest): rest
    case .chunked: nil
    case .head, .end: 0
    }
  }

  /// The next event. After an error every call throws it again: framing is lost for good.
  public mutating func next() throws(WireError) -> Event {
    if let failure { throw failure }
    do throws(WireError) {
      return try step()
    } catch {
      failure = error
      throw error
    }
  }

  private mutating func step() throws(WireError) -> Event {
    switch phase {
    case .head: return try head()
    case .fixed(let rest):
      let count = min(rest, bufferedCount, RequestParser.pieceBytes)
      if count == 0 { return .needMore }
      let piece = Array(buffer[start..<start + count])
      start += count
      phase = rest == count ? .end : .fixed(rest: rest - count)
      return .body(piece)
    case .chunked:
      var piece: [UInt8] = []
      let input = buffer
      do throws(WireError) {
        start += try chunks.decode(input.span, from: start, into: &piece, room: RequestParser.pieceBytes)
      } catch {
        // What came before the fault is delivered first, as it is when it arrives alone.
        if piece.isEmpty { throw error }
        failure = error
        return .body(piece)
      }
      if chunks.isFinished { phase = .end }
      if !piece.isEmpty { return .body(piece) }
      return chunks.isFinished ? try step() : .needMore
    case .end:
      phase = .head
      scanner = RequestHeadScanner(limits: limits)
      return .end
    }
  }

  private mutating func head() throws(WireError) -> Event {
    compact()
    let input = buffer
    guard try scanner.scan(input.span) else { return .needMore }
    let length = scanner.length
    let head: HTTPRequestHead
    if length == buffer.count {
      head = try scanner.head(buffer)
      buffer = []
    } else {
      head = try scanner.head(Array(buffer[..<length]))
      start = length
    }
    switch head.framing {
    case .length(0): phase = .end
    case .length(let count):
      phase = .fixed(rest: count)
      // The head still gets its answer; only reading the body meets this.
      if count > limits.bodyBytes { failure = .bodyTooLarge(limitBytes: limits.bodyBytes) }
    case .chunked:
      phase = .chunked
      chunks = ChunkedDecoder(limits: limits)
    }
    return .head(head)
  }

  private mutating func compact() {
    if start == buffer.count {
      buffer.removeAll(keepingCapacity: buffer.capacity <= RequestParser.pieceBytes)
    } else if start > 0 {
      buffer.removeFirst(start)
    }
    start = 0
  }
}
