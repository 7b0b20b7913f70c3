import API
import Foundation
import HTTPServer
import Logging
import Serving

/// The daemon in this process, wired as `corad serve` wires it: a store of its own in a temporary folder, which goes
/// with it, and a socket on a port of the kernel's choice.
struct BenchDaemon: Sendable {
  let node: Node
  let server: HTTPServer
  let port: UInt16

  var url: String { "http://127.0.0.1:\(port)" }

  static func with<R: Sendable>(
    model: String, loops: Int = 2, _ adjust: (inout ServingConfiguration) -> Void = { _ in },
    replacing: @Sendable (InferenceStages) -> InferenceStages = { $0 },
    _ body: (BenchDaemon) async throws -> R
  ) async throws -> R {
    try await withNode(model: model, adjust, replacing: replacing) { node in
      let log = Self.log
      let handler = APIHandler(
        node: node, configuration: APIConfiguration(), log: log, openAPIYAML: "openapi: 3.1.0\n")
      let server = HTTPServer(
        configuration: HTTPServerConfiguration(
          listeners: [.tcp(host: "127.0.0.1", port: 0)], loops: loops), handler: handler)
      guard case .tcp(_, let port) = try server.start().first else { throw BenchError("no port") }
      let result: Result<R, any Error>
      do {
        result = .success(try await body(BenchDaemon(node: node, server: server, port: port)))
      } catch {
        result = .failure(error)
      }
      await server.drain(grace: .seconds(5))
      return try result.get()
    }
  }

  /// The core alone, running until the body ends.
  static func withNode<R: Sendable>(
    model: String, _ adjust: (inout ServingConfiguration) -> Void = { _ in },
    replacing: @Sendable (InferenceStages) -> InferenceStages = { $0 }, _ body: (Node) async throws -> R
  ) async throws -> R {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("corad-bench-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var configuration = ServingConfiguration(
      modelDirectory: model, storePath: folder.appendingPathComponent("store.sqlite").path)
    adjust(&configuration)
    let node = try await Node.open(configuration, log: log, replacing: replacing)
    let running = Task { await node.run() }
    let result: Result<R, any Error>
    do { result = .success(try await body(node)) } catch { result = .failure(error) }
    await node.drain()
    await running.value
    await node.close()
    return try result.get()
  }

  private static var log: Logger {
    var log = Logger(label: "corad-bench") { StreamLogHandler.standardError(label: $0) }
    log.logLevel = .error
    return log
  }
}
