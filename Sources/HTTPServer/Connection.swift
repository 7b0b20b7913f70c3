internal import CPlatform
internal import Glibc
internal import HTTPWire
internal import Synchronization

/// One client: reads a request, has it answered, writes the answer, again. An actor on its loop, driven by one Task that
/// it holds; the socket is edge-triggered, so readiness is remembered in flags and asked again only after EAGAIN.
actor Connection: EventTarget {
  /// Of answers that are held for a write.
  static let unsentBytes = 64 << 10

  enum Phase {
    case handshake, idle, head, handling, closing
  }

  nonisolated let loop: EventLoop
  nonisolated let id: UInt64
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  let transport: Transport
  private let peer: PeerAddress
  private let handler: any HTTPHandler
  let limits: HTTPLimits
  let times: LimitTimes
  private let onClose: (UInt64) -> Void
  private var token: UInt64?
  var task: Task<Void, Never>?

  var parser: RequestParser
  var phase: Phase
  private var isDraining = false
  private var idleEnd = Int64.max

  // What epoll told.
  private var isReadable = true
  var isWritable = true
  private var peerFinished = false
  var isGone = false
  private var isBroken = false

  /// What a read gave that was made as soon as it was possible.
  private var early: Fill?
  /// Answers that are to be written.
  var unsent: [UInt8] = []
  var isWriteAsked = false

  private var reader: UnsafeContinuation<Void, Never>?
  private var writer: UnsafeContinuation<Void, Never>?
  private var readDeadline = Int64.max
  var writeDeadline = Int64.max
  /// When the wheel reports the nearest of its entries for this connection; the others, nearest last.
  private var scheduled = Int64.max
  private var scheduledLater: [Int64] = []

  // The request in progress.
  var request: UInt64 = 0
  var bodyIsDone = true
  var bodyFailure: WireError?
  var mustSendContinue = false
  var bodyBudget: Int64 = 0
  var bodyProgress = 0

  init(
    id: UInt64, transport: Transport, peer: PeerAddress, handler: any HTTPHandler, limits: HTTPLimits,
    times: LimitTimes, loop: EventLoop, onClose: @escaping @Sendable (UInt64) -> Void
  ) {
    self.id = id
    self.transport = transport
    self.peer = peer
    self.handler = handler
    self.limits = limits
    self.times = times
    self.loop = loop
    self.onClose = onClose
    parser = RequestParser(limits: limits)
    phase = transport.session == nil ? .idle : .handshake
  }

  /// Registers the socket and starts the Task; false when the kernel refuses.
  func start() -> Bool {
    guard let token = loop.add(connection: transport.descriptor, self) else {
      transport.close(isComplete: false)
      return false
    }
    self.token = token
    task = Task(executorPreference: loop) { await self.run() }
    return true
  }

  /// A connection without a request closes at `time`, one with a request after its answer.
  func drain(idleUntil time: Int64) {
    isDraining = true
    idleEnd = time
    if phase == .idle || phase == .handshake {
      setReadDeadline(min(readDeadline, time))
      wake()
    }
  }

  /// Whether the drain is not waiting for this connection's next request any more.
  private var isDrained: Bool { isDraining && phase == .idle && idleEnd <= loop.now }

  /// Cancels what runs and closes.
  func abort() {
    isGone = true
    task?.cancel()
    wake()
  }

  // MARK: Events

  nonisolated func ready(_ events: UInt32) {
    onLoop(Int64(events)) { $0.handle(UInt32(truncatingIfNeeded: $1)) }
  }

  nonisolated func timerFired(now: Int64) {
    onLoop(now) { $0.expire($1) }
  }

  /// `assumeIsolated` without the memory that a closure takes, once for each event: `body` captures nothing.
  // SAFETY: the loop is this actor's executor · checked here; an isolated parameter is passed as any other is.
  nonisolated func onLoop(_ number: Int64, _ body: @escaping (isolated Connection, Int64) -> Void) {
    loop.checkIsolated()
    unsafeBitCast(body, to: ((Connection, Int64) -> Void).self)(self, number)
  }

  private func handle(_ events: UInt32) {
    if events & UInt32(CSYSTEM_WRITABLE) != 0 { isWritable = true }
    if events & UInt32(CSYSTEM_READABLE) != 0 { isReadable = true }
    if events & UInt32(CSYSTEM_PEER_FINISHED) != 0 {
      peerFinished = true
      isReadable = true
      // TCP does not say whether the peer still reads. A finish that came with the request is a client like `nc -N`,
      // which waits for its answer; one that comes while the answer is made is a client that left. A unix socket that
      // is closed both ways hangs up, so a mere finish there is no leaving.
      if phase == .handling, peer != .unix { leave() }
    }
    if events & UInt32(CSYSTEM_HANGUP | CSYSTEM_ERROR) != 0 {
      isGone = true
      if phase == .handling { leave() }
    }
    if reader != nil, early == nil, transport.session == nil { early = read() }
    if isWritable { askForWrite() }
    wake()
  }

  func leave() {
    guard let task, !task.isCancelled else { return }
    loop.counters.abandoned.wrappingAdd(1, ordering: .relaxed)
    task.cancel()
  }

  func wake() {
    wakeReader()
    wakeWriter()
  }

  private func wakeReader() {
    let waiting = reader
    reader = nil
    waiting?.resume()
  }

  private func wakeWriter() {
    let waiting = writer
    writer = nil
    waiting?.resume()
  }

  // MARK: Deadlines

  private func expire(_ now: Int64) {
    guard token != nil else { return }
    // Entries report in the order of their times.
    scheduled = scheduledLater.popLast() ?? .max
    if readDeadline <= now { wakeReader() }
    if writeDeadline <= now { wakeWriter() }
    if !unsent.isEmpty, writeDeadline <= now, !isWritable {
      loop.counters.timeouts.wrappingAdd(1, ordering: .relaxed)
      abort()
    }
    let next = min(readDeadline > now ? readDeadline : .max, writeDeadline > now ? writeDeadline : .max)
    if next != .max { schedule(next) }
  }

  /// Deadlines move with each request; the wheel's entry stays and looks again when it fires. A new one is made only
  /// where it reports before the others, so a connection has no more of them than there are kinds of deadlines.
  func schedule(_ time: Int64) {
    guard time < scheduled, let token else { return }
    let report = loop.wheel.report(of: time)
    guard report < scheduled else { return }
    if scheduled != .max { scheduledLater.append(scheduled) }
    scheduled = report
    loop.schedule(token, at: time)
  }

  func setReadDeadline(_ time: Int64) {
    readDeadline = time
    if time != .max { schedule(time) }
  }

  // MARK: Socket

  enum Fill {
    case bytes, end, gone, timeout
    /// Nothing there, and the connection drains.
    case drained
  }

  /// Reads once into the parser, waiting for bytes.
  @inline(__always)
  func fill() async -> Fill {
    while true {
      if let early {
        self.early = nil
        return early
      }
      if isGone, !isReadable { return .gone }
      if let outcome = read() { return outcome }
      if isDrained { return .drained }
      if readDeadline <= loop.now { return .timeout }
      await awaitReadable()
    }
  }

  /// Reads once into the parser; nil where nothing is there.
  private func read() -> Fill? {
    guard isReadable else { return nil }
    let outcome = loop.withReadBuffer { buffer in
      let outcome = transport.read(into: buffer)
      if case .bytes(let count) = outcome {
        if phase != .closing { parser.append(UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
        // A short read emptied the socket: the next bytes bring the next event.
        if count < buffer.count, transport.session == nil, !peerFinished, !isGone { isReadable = false }
      }
      return outcome
    }
    switch outcome {
    case .bytes(let count):
      loop.counters.received.wrappingAdd(count, ordering: .relaxed)
      return .bytes
    case .end: return .end
    case .failed: return .gone
    case .wouldBlock:
      isReadable = false
      return nil
    }
  }

  /// Ends at the next event or deadline.
  ///
  /// What is waited for is looked at inside: where the caller's Task prefers another executor (a handler's child task
  /// that writes, say), the await suspends before the continuation is there, and an event may come in between.
  @inline(__always)
  private func awaitReadable() async {
    await withUnsafeContinuation { (waiting: UnsafeContinuation<Void, Never>) in
      precondition(reader == nil, "a connection has one reader at a time")
      if isReadable || isGone || readDeadline <= loop.now || isDrained {
        waiting.resume()
      } else {
        reader = waiting
      }
    }
  }

  func awaitWritable() async {
    await withUnsafeContinuation { (waiting: UnsafeContinuation<Void, Never>) in
      precondition(writer == nil, "a connection has one writer at a time")
      if isWritable || isGone || writeDeadline <= loop.now { waiting.resume() } else { writer = waiting }
    }
  }

  // MARK: The Task

  private func run() async {
    if await handshake() {
      while await turn() {}
      if !isGone { try? await sendUnsent() }
    }
    phase = .closing
    setReadDeadline(.max)
    if let token { loop.remove(token, descriptor: transport.descriptor) }
    token = nil
    transport.close(isComplete: !isGone && !isBroken)
    task = nil
    onClose(id)
  }

  private func handshake() async -> Bool {
    guard phase == .handshake else { return true }
    setReadDeadline(loop.now + times.head)
    while true {
      switch transport.handshake() {
      case .bytes:
        phase = .idle
        return true
      case .end, .failed: return false
      case .wouldBlock:
        if isGone || readDeadline <= loop.now { return false }
        isReadable = false
        await awaitReadable()
      }
    }
  }

  /// One request and its answer; false when the connection is to close.
  ///
  /// It and what it calls are compiled into one function: each return from an asynchronous one looks for its executor.
  @inline(__always)
  private func turn() async -> Bool {
    let head: HTTPRequestHead
    do throws(WireError) {
      guard let next = try await nextHead() else { return false }
      head = next
    } catch {
      loop.counters.malformed.wrappingAdd(1, ordering: .relaxed)
      await refuse(error)
      return false
    }
    loop.counters.requests.wrappingAdd(1, ordering: .relaxed)
    request += 1
    bodyIsDone = head.framing == .length(0)
    bodyFailure = nil
    mustSendContinue = head.expectsContinue && !bodyIsDone
    bodyBudget = times.body
    bodyProgress = 0
    setReadDeadline(.max)
    phase = .handling
    let response = await handler.respond(
      to: HTTPRequest(
        head: head, body: body(of: head), peer: peer, isSecure: transport.session != nil, connectionID: id))
    if isGone { return false }
    return await answer(response, to: head)
  }

  @inline(__always)
  private func answer(_ response: HTTPResponse, to head: HTTPRequestHead) async -> Bool {
    var isKept = head.isKeepAlive && !isDraining && mayGoOn
    do throws(WireError) {
      // The peer took nothing since the last one.
      if !isWritable { try await sendUnsent() }
      if unsent.isEmpty { unsent = loop.takeOutput() }
      let next = ResponseEncoder.encode(
        response, to: head, isKeepAlive: &isKept, date: loop.date, into: &unsent)
      // Long answers, and those behind which something is to happen, are waited for.
      if next == .complete, isKept, bodyIsDone, unsent.count <= Connection.unsentBytes {
        askForWrite()
      } else {
        try await sendUnsent()
      }
      if next != .complete, case .stream(let producer) = response.body {
        let writer = ConnectionWriter(connection: self, request: request, isChunked: next == .chunked)
        do {
          try await producer(writer)
        } catch {
          // Without its last chunk the client sees the stream broken.
          isBroken = true
          if next == .untilClose { transport.makeCloseReset() }
          return false
        }
        if next == .chunked { try await send(ResponseEncoder.lastChunk) }
      }
    } catch {
      return false
    }
    if !bodyIsDone, isKept { isKept = await skipBody() }
    request += 1
    phase = .idle
    guard isKept else {
      if !bodyIsDone || parser.bufferedCount > 0 { await linger() }
      return false
    }
    return !isGone
  }

  /// Whether the unread rest of the body is small enough to be read past.
  private var mayGoOn: Bool {
    bodyIsDone || (bodyFailure == nil && !mustSendContinue && (parser.bodyRest ?? 0) <= limits.drainBytes)
  }

  /// The next head; nil when the connection ended quietly between requests.
  @inline(__always)
  private func nextHead() async throws(WireError) -> HTTPRequestHead? {
    phase = .idle
    var headStart: Int64?
    var closesAt = loop.now + times.idle
    while true {
      switch try parser.next() {
      case .head(let head): return head
      case .body, .end: continue
      case .needMore: break
      }
      if !parser.isIdle, headStart == nil {
        headStart = loop.now
        phase = .head
        closesAt = loop.now + times.head
      }
      setReadDeadline(phase == .idle ? min(closesAt, idleEnd) : closesAt)
      switch await fill() {
      case .bytes: continue
      case .end, .gone, .drained: return nil
      case .timeout:
        loop.counters.timeouts.wrappingAdd(1, ordering: .relaxed)
        if headStart == nil { return nil }
        throw .headTimeout
      }
    }
  }

  private func refuse(_ error: WireError) async {
    var isKept = false
    _ = ResponseEncoder.encode(
      handler.response(for: error), to: nil, isKeepAlive: &isKept, date: loop.date, into: &unsent)
    do throws(WireError) {
      try await sendUnsent()
    } catch {
      return
    }
    await linger()
  }

  /// Reads past what the peer still sends, for a while: closing with unread bytes would reset the connection and could
  /// take the answer with it (RFC 9112 §9.6).
  private func linger() async {
    phase = .closing
    transport.finishWriting()
    setReadDeadline(loop.now + min(times.head, 2_000_000_000))
    // 64 reads are 4 MB.
    for _ in 0..<64 {
      guard case .bytes = await fill() else { return }
    }
  }
}

/// The limits' times in nanoseconds, reckoned once.
struct LimitTimes: Sendable {
  let idle: Int64
  let head: Int64
  let body: Int64
  let write: Int64

  init(_ limits: HTTPLimits) {
    idle = limits.idleTime.nanoseconds
    head = limits.headTime.nanoseconds
    body = limits.bodyTime.nanoseconds
    write = limits.writeTime.nanoseconds
  }
}
