internal import CPlatform
internal import Glibc
internal import HTTPWire
internal import Synchronization

/// One loop's listening sockets and connections.
actor Acceptor {
  /// A listening socket as the loop sees it.
  private final class Door: EventTarget {
    let acceptor: Acceptor
    let index: Int

    init(_ acceptor: Acceptor, _ index: Int) {
      self.acceptor = acceptor
      self.index = index
    }

    func ready(_ events: UInt32) { acceptor.assumeIsolated { $0.accept(self.index) } }

    func timerFired(now: Int64) { acceptor.assumeIsolated { $0.timerFired(self.index, now) } }
  }

  struct Listener: Sendable {
    let descriptor: Int32
    let isSecure: Bool
  }

  // Accepted in one go, before the connections get their turn.
  private static let acceptBudget = 64
  // A full descriptor table is looked at again after this.
  private static let pauseNanoseconds: Int64 = 100_000_000

  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private let listeners: [Listener]
  private let tls: TLSContext?
  private let handler: any HTTPHandler
  private let limits: HTTPLimits
  private let times: LimitTimes
  private let shared: SharedCounters
  private var tokens: [UInt64?] = []
  private var timers: [UInt64] = []
  private var connections: [UInt64: Connection] = [:]
  private var isDraining = false
  private var isForced = false
  private var forceAt = Int64.max
  private var drained: CheckedContinuation<Void, Never>?

  init(
    listeners: [Listener], tls: TLSContext?, handler: any HTTPHandler, limits: HTTPLimits,
    shared: SharedCounters,
    loop: EventLoop
  ) {
    self.listeners = listeners
    self.tls = tls
    self.handler = handler
    self.limits = limits
    times = LimitTimes(limits)
    self.shared = shared
    self.loop = loop
  }

  func start() {
    for index in listeners.indices {
      let door = Door(self, index)
      tokens.append(loop.add(listener: listeners[index].descriptor, door))
      timers.append(loop.add(timer: door))
    }
  }

  private func accept(_ index: Int, budget: Int = Acceptor.acceptBudget) {
    for _ in 0..<budget {
      let descriptor = csystem_accept(listeners[index].descriptor)
      if descriptor < 0 {
        switch errno {
        case EINTR, ECONNABORTED: continue
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: pause(index)
        default: break
        }
        return
      }
      admit(descriptor, isSecure: listeners[index].isSecure)
    }
  }

  private func admit(_ descriptor: Int32, isSecure: Bool) {
    loop.counters.accepted.wrappingAdd(1, ordering: .relaxed)
    let open = shared.open.wrappingAdd(1, ordering: .relaxed).newValue
    guard open <= limits.connections else {
      shared.open.wrappingSubtract(1, ordering: .relaxed)
      loop.counters.refused.wrappingAdd(1, ordering: .relaxed)
      refuse(descriptor, isSecure: isSecure)
      return
    }
    let session = isSecure ? tls?.session(descriptor: descriptor) : nil
    if isSecure, session == nil {
      shared.open.wrappingSubtract(1, ordering: .relaxed)
      close(descriptor)
      return
    }
    let connection = Connection(
      id: shared.next.wrappingAdd(1, ordering: .relaxed).newValue,
      transport: Transport(descriptor: descriptor, session: session), peer: ListeningSocket.peer(descriptor),
      handler: handler, limits: limits, times: times, loop: loop,
      onClose: { [self] id in assumeIsolated { $0.remove(id) } })
    guard connection.assumeIsolated({ $0.start() }) else {
      shared.open.wrappingSubtract(1, ordering: .relaxed)
      return
    }
    loop.counters.open.wrappingAdd(1, ordering: .relaxed)
    connections[connection.id] = connection
  }

  /// Over the limit a plain client is told so, as far as one write goes.
  private func refuse(_ descriptor: Int32, isSecure: Bool) {
    if !isSecure {
      var isKept = false
      var output: [UInt8] = []
      _ = ResponseEncoder.encode(
        handler.response(for: .tooManyConnections(limit: limits.connections)), to: nil, isKeepAlive: &isKept,
        date: loop.date, into: &output)
      _ = output.withUnsafeBytes { Transport(descriptor: descriptor, session: nil).write($0) }
      shutdown(descriptor, Int32(SHUT_WR))
      // What came with the connection is read, so that closing does not reset the answer away.
      _ = loop.withReadBuffer { recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT)) }
    }
    close(descriptor)
  }

  private func remove(_ id: UInt64) {
    guard connections.removeValue(forKey: id) != nil else { return }
    loop.counters.open.wrappingSubtract(1, ordering: .relaxed)
    shared.open.wrappingSubtract(1, ordering: .relaxed)
    if connections.isEmpty { endDrain() }
  }

  private func pause(_ index: Int) {
    guard !isDraining, let token = tokens[index] else { return }
    loop.remove(token, descriptor: listeners[index].descriptor)
    tokens[index] = nil
    loop.schedule(timers[index], at: loop.now + Acceptor.pauseNanoseconds)
  }

  private func timerFired(_ index: Int, _ now: Int64) {
    if isDraining {
      if index == 0, forceAt != .max { force(now) }
    } else if tokens[index] == nil {
      tokens[index] = loop.add(listener: listeners[index].descriptor, Door(self, index))
    }
  }

  // MARK: Drain

  /// Takes what the kernel accepted already, which is ours to answer, and nothing after it. From here on each
  /// connection's next answer is its last; one that stays idle for `idle` closes.
  func stopAccepting(idle: Duration) {
    isDraining = true
    for (index, listener) in listeners.enumerated() where index < tokens.count {
      accept(index, budget: limits.connections)
      if let token = tokens[index] { loop.remove(token, descriptor: listener.descriptor) }
      tokens[index] = nil
    }
    let idleEnd = loop.now + idle.nanoseconds
    for connection in connections.values { connection.assumeIsolated { $0.drain(idleUntil: idleEnd) } }
  }

  /// Returns when all connections ended; after `grace` they are cancelled, and a second later given up.
  func drain(grace: Duration) async {
    forceAt = loop.now + grace.nanoseconds
    if let timer = timers.first { loop.schedule(timer, at: forceAt) }
    await withCheckedContinuation { waiting in
      // Looked at here: a caller from another executor is suspended by the await itself.
      if connections.isEmpty { waiting.resume() } else { drained = waiting }
    }
  }

  private func force(_ now: Int64) {
    guard !connections.isEmpty else { return }
    if now >= forceAt {
      if isForced { return endDrain() }
      isForced = true
      forceAt = now + 1_000_000_000
      for connection in connections.values { connection.assumeIsolated { $0.abort() } }
    }
    loop.schedule(timers[0], at: forceAt)
  }

  private func endDrain() {
    let waiting = drained
    drained = nil
    waiting?.resume()
  }

  /// Whether every connection ended.
  var isEmpty: Bool { connections.isEmpty }
}

/// What all loops count together.
final class SharedCounters: Sendable {
  let open = Atomic<Int>(0)
  let next = Atomic<UInt64>(0)
}
