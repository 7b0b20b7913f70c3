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
