import Foundation
import Training

/// An adapter to be trained or found.
struct WriterJob: Sendable {
  let task: String
  let method: String
  /// Of A; B takes it where it trains.
  let rate: Float
}

/// Everything that a writer depends on; its digest is the run's name in the folder of runs.
struct WriterConfiguration: RunConfiguration, Codable, Sendable {
  var format = 1
  let base: String
  let task: String
  let trainSHA256: String
  /// Digest of B's source; nil where there is none.
  let subspace: String?
  let settings: TrainingSettings
}

/// A writer that is trained.
struct WriterRun: Codable, Sendable {
  let configuration: WriterConfiguration
  /// Mean loss of a token to write on the validation rows, epoch after epoch; the best epoch's parameters were kept.
  let validationLosses: [Double]
  let steps: Int
  /// SHA-256 of the trained version's bytes.
  let version: String
  /// Wall time, with other work on the machine.
  let seconds: Double

  var validationLoss: Double { validationLosses.min() ?? .nan }
}

/// Runs by their configuration's digest, two files each, outside the tree: what is there is not trained again.
struct WriterStore: Sendable {
  let folder: URL

  init(folder: URL) throws {
    self.folder = folder
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  /// A run with its version's bytes; nil where it is not whole.
  func run(_ digest: String) throws -> (run: WriterRun, version: [UInt8])? {
    guard let json = FileManager.default.contents(atPath: path(digest, "json").path),
      let version = FileManager.default.contents(atPath: path(digest, "safetensors").path)
    else { return nil }
    return (try JSONDecoder().decode(WriterRun.self, from: json), [UInt8](version))
  }

  func keep(_ run: WriterRun, version: [UInt8]) throws {
    let digest = try run.configuration.digest
    try Data(version).write(to: path(digest, "safetensors"), options: .atomic)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    try encoder.encode(run).write(to: path(digest, "json"), options: .atomic)
  }

  private func path(_ digest: String, _ kind: String) -> URL {
    folder.appendingPathComponent("\(digest).\(kind)")
  }
}
