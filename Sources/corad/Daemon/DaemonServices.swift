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

/// Ends the process at the second signal, whatever it waits for.
final class SecondSignal {
  private let sources: [any DispatchSourceSignal]

  init(_ signals: [Int32]) {
    let queue = DispatchQueue(label: "signals")
    let counter = Counter()
    sources = signals.map { number in
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler {
        if counter.add() > 1 { _exit(1) }
      }
      source.resume()
      return source
    }
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
