internal import CPlatform
internal import Glibc
public import HTTPWire
internal import Synchronization

/// An HTTP/1.1 server on POSIX sockets: a loop per thread, each with its own connections. docs/decisions/0003.
public final class HTTPServer: Sendable {
  private struct Running: Sendable {
    var acceptors: [Acceptor] = []
    var descriptors: [Int32] = []
    var unixPaths: [(path: String, inode: UInt64)] = []
    var isDraining = false
  }

  private let configuration: HTTPServerConfiguration
  private let handler: any HTTPHandler
  private let running = Locked<Running?>(nil)

  public init(configuration: HTTPServerConfiguration, handler: any HTTPHandler) {
    self.configuration = configuration
    self.handler = handler
  }

  /// Listens and serves; SIGPIPE is ignored from here on. Once per server.
  ///
  /// - Returns: where each listener ended up, in the configuration's order.
  /// - Throws: `ServerError`; nothing listens then.
  public func start() throws(ServerError) -> [BoundAddress] {
    csystem_ignore_sigpipe()
    var tls: TLSContext?
    if let files = configuration.tls { tls = try TLSContext(files) }
    let count = max(1, configuration.loops)
    var state = Running()
    var bound: [BoundAddress] = []
    var listeners = [[Acceptor.Listener]](repeating: [], count: count)
    do throws(ServerError) {
      for address in configuration.listeners {
        let (sockets, where_) = try open(address, count: count, &state)
        bound.append(where_)
        var isSecure = tls != nil
        if case .unix = where_ { isSecure = false }
        for index in 0..<count {
          listeners[index].append(.init(descriptor: sockets[index % sockets.count], isSecure: isSecure))
        }
      }
      let shared = SharedCounters()
      for index in 0..<count {
        let loop = try EventLoop(name: "http-\(index)")
        state.acceptors.append(
          Acceptor(
            listeners: listeners[index], tls: tls, handler: handler, limits: configuration.limits,
            shared: shared,
            loop: loop))
      }
      for acceptor in state.acceptors { try acceptor.loop.start() }
    } catch {
      for acceptor in state.acceptors { acceptor.loop.stop() }
      HTTPServer.closeListeners(state)
      throw error
    }
    for acceptor in state.acceptors { acceptor.begin() }
    running.withLock { $0 = state }
    return bound
  }

  /// Closes the listeners, lets answers in progress end within `grace`, then cancels them; returns when all is closed.
  /// A kept connection may bring one more request within `drainIdleTime`.
  public func drain(grace: Duration) async {
    let taken: Running? = running.withLock { running in
      guard let state = running, !state.isDraining else { return nil }
      running?.isDraining = true
      return state
    }
    guard let state = taken else { return }
    let idle = min(grace, configuration.drainIdleTime)
    for acceptor in state.acceptors { await acceptor.stopAccepting(idle: idle) }
    // At once: a connection that nobody will accept would hang until the grace is over.
    HTTPServer.closeListeners(state)
    await withTaskGroup(of: Void.self) { group in
      for acceptor in state.acceptors { group.addTask { await acceptor.drain(grace: grace) } }
    }
    for acceptor in state.acceptors where await acceptor.isEmpty { acceptor.loop.stop() }
    last.withLock { $0 = HTTPServer.sum(state.acceptors) }
    running.withLock { $0 = nil }
  }

  private let last = Locked(HTTPServerMetrics())

  /// The counters now; after the drain, what they ended at.
  public var metrics: HTTPServerMetrics {
    if let acceptors = running.withLock({ $0?.acceptors }) { return HTTPServer.sum(acceptors) }
    return last.withLock { $0 }
  }

  private static func sum(_ acceptors: [Acceptor]) -> HTTPServerMetrics {
    var sum = HTTPServerMetrics()
    for counters in acceptors.map(\.loop.counters) {
      sum.openConnections += counters.open.load(ordering: .relaxed)
      sum.acceptedConnections += counters.accepted.load(ordering: .relaxed)
      sum.refusedConnections += counters.refused.load(ordering: .relaxed)
      sum.requests += counters.requests.load(ordering: .relaxed)
      sum.malformedRequests += counters.malformed.load(ordering: .relaxed)
      sum.timeouts += counters.timeouts.load(ordering: .relaxed)
      sum.abandonedRequests += counters.abandoned.load(ordering: .relaxed)
      sum.bytesReceived += counters.received.load(ordering: .relaxed)
      sum.bytesSent += counters.sent.load(ordering: .relaxed)
    }
    return sum
  }

  private func open(
    _ address: ListenAddress, count: Int, _ state: inout Running
  ) throws(ServerError) -> (sockets: [Int32], address: BoundAddress) {
    switch address {
    case .tcp(let host, let port):
      let opened = try ListeningSocket.tcp(
        host: host, port: port, count: count, backlog: configuration.backlog)
      state.descriptors += opened.sockets
      return opened
    case .unix(let path):
      let socket = try ListeningSocket.unix(
        path: path, mode: configuration.unixMode, backlog: configuration.backlog)
      state.descriptors.append(socket)
      state.unixPaths.append((path, HTTPServer.inode(path)))
      return ([socket], .unix(path: path))
    case .descriptor(let descriptor):
      let address = try ListeningSocket.inherited(descriptor)
      state.descriptors.append(descriptor)
      return ([descriptor], address)
    }
  }

  private static func inode(_ path: String) -> UInt64 {
    var status = stat()
    return lstat(path, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  private static func closeListeners(_ state: Running) {
    // Another daemon may have put its own socket there: only ours is removed.
    for (path, inode) in state.unixPaths where HTTPServer.inode(path) == inode { unlink(path) }
    for descriptor in state.descriptors { close(descriptor) }
  }
}

extension Acceptor {
  /// Registers the listeners on the loop's own thread.
  nonisolated func begin() {
    Task(executorPreference: loop) { await self.start() }
  }
}
