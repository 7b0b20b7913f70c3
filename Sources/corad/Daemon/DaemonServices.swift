internal import Dispatch
internal import Foundation
internal import HTTPServer
internal import Logging
internal import ServiceLifecycle
internal import Serving

/// The core: runs until it is told to stop, then checkpoints and closes the store.
struct NodeService: Service {
  let node: Node

  func run() async throws {
    await withGracefulShutdownHandler {
      await node.run()
    } onGracefulShutdown: {
      Task { await node.drain() }
    }
    await node.close()
  }
}

/// The server, already listening: stops accepting and answers what has begun. Before the core, because the core
/// answers.
struct ServerService: Service {
  let server: HTTPServer
  let grace: Duration
  let manager: ServiceManager
  let log: Logger

  func run() async throws {
    try? await gracefulShutdown()
    manager.tell("STOPPING=1")
    log.info("draining")
    await server.drain(grace: grace)
  }
}

/// Tells the service manager that the daemon is alive, as often as it wishes.
struct WatchdogService: Service {
  let manager: ServiceManager
  let interval: Duration

  func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        manager.tell("WATCHDOG=1")
        try await Task.sleep(for: interval)
      }
    }
  }
}

/// The first signal asks for the end, the second is the end, whatever it waits for.
final class StopSignals {
  private let sources: [any DispatchSourceSignal]

  /// Returns once the signals are caught.
  init(_ signals: [Int32], first: @escaping @Sendable () -> Void) {
    let queue = DispatchQueue(label: "signals")
    let counter = Counter()
    let registered = DispatchSemaphore(value: 0)
    sources = signals.map { number in
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setRegistrationHandler { registered.signal() }
      source.setEventHandler {
        if counter.add() > 1 { _exit(1) }
        first()
      }
      source.resume()
      return source
    }
    for _ in signals { registered.wait() }
  }

  // SAFETY: the queue `signals` · every use is in an event handler on that serial queue.
  private final class Counter: @unchecked Sendable {
    private var count = 0
    func add() -> Int {
      count += 1
      return count
    }
  }
}
