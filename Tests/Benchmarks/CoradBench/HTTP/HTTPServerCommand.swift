import Adapters
import ArgumentParser
import Foundation
import Serving
import Tokenizers

/// What stands behind the measured server.
enum ServedStages: String, CaseIterable, ExpressibleByArgument {
  /// Tokeniser and lane stubbed.
  case stubbed
  /// The real tokeniser, the lane stubbed.
  case tokeniser
  /// The whole.
  case whole

  func replace(_ stages: InferenceStages) -> InferenceStages {
    var stages = stages
    if self == .stubbed {
      let ids = [Int32](repeating: 1_000, count: HTTPTraffic.tokens)
      let encoding = Encoding(
        ids: ids, typeIDs: ids.map { _ in 0 }, offsets: ids.map { _ in 0..<0 }, untruncatedCount: ids.count)
      let encodings = Array(repeating: encoding, count: HTTPTraffic.inputs)
      stages.encode = { _, _ in encodings }
    }
    if self != .whole {
      let answers = HTTPTraffic.predictions
      stages.compute = { _, done in done(answers) }
    }
    return stages
  }
}

/// The daemon on one loop in a process of its own, with the one task of the traffic: `http` starts it and reads its CPU
/// time.
struct HTTPServerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "http-server", abstract: "The measured server of http.", shouldDisplay: false)

  @Option var model: String
  @Option var stages: ServedStages

  func run() async throws {
    let stages = stages
    try await BenchDaemon.with(model: model, loops: 1, replacing: { stages.replace($0) }) { daemon in
      let made = try await MadeVersion(daemon.node)
      _ = try await daemon.node.publish(
        made.version(seed: 1, rank: 8, labels: HTTPTraffic.labels), task: HTTPTraffic.task, activate: true,
        principal: .anonymous)
      say("\(daemon.port)")
      // Not on the pool: pinned to one core, it has one thread, and the daemon works on it.
      await withCheckedContinuation { continuation in
        Thread.detachNewThread {
          while !FileHandle.standardInput.availableData.isEmpty {}
          continuation.resume()
        }
      }
    }
  }
}
