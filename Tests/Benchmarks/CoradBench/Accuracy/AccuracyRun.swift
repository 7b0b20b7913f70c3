import Digests
import Foundation
import Training

/// Everything that a run's result depends on; its digest is the run's name in the results folder.
struct AccuracyConfiguration: RunConfiguration, Codable, Equatable, Sendable {
  var format = 1
  var base: String
  var task: String
  var trainSHA256: String
  var heldOutSHA256: String
  /// Digest of B's source; nil where there is none.
  var subspace: String?
  var settings: TrainingSettings
}

/// A run that is done.
struct AccuracyRun: Codable, Sendable {
  var configuration: AccuracyConfiguration
  var arm: Arm
  /// `table`, `grid` or `subspace`.
  var purpose: String
  /// Share of the held-out rows that are right.
  var accuracy: Double
  /// A bit per held-out row, first row in the highest bit of the first byte, in hexadecimal.
  var right: String
  var rows: Int
  /// Of the trained version's bytes: two equal runs have one.
  var version: String
  var lastTrainingLoss: Double
  /// Wall time, training and answering, with other work on the machine.
  var seconds: Double

  static func bits(_ right: [Bool]) -> String {
    var bytes = [UInt8](repeating: 0, count: (right.count + 7) / 8)
    for (index, isRight) in right.enumerated() where isRight { bytes[index / 8] |= 0x80 >> (index % 8) }
    return Digest.hex(bytes)
  }

  /// 1 for a right row, 0 for a wrong one.
  var outcomes: [Double] {
    let digits = Array(right.utf8).map { UInt8(ascii: "a") <= $0 ? $0 - 87 : $0 - 48 }
    return (0..<rows).map { row in
      Double(digits[row / 4] >> UInt8(3 - row % 4) & 1)
    }
  }
}

/// Runs by their configuration's digest, a file each, outside the tree: what is there is not run again.
struct AccuracyStore: Sendable {
  let folder: URL

  init(folder: URL) throws {
    self.folder = folder
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  func run(_ digest: String) throws -> AccuracyRun? {
    let path = folder.appendingPathComponent(digest + ".json")
    guard FileManager.default.fileExists(atPath: path.path) else { return nil }
    return try JSONDecoder().decode(AccuracyRun.self, from: Data(contentsOf: path))
  }

  func version(_ digest: String) -> [UInt8]? {
    (try? Data(contentsOf: folder.appendingPathComponent(digest + ".safetensors"))).map { [UInt8]($0) }
  }

  /// The version first: a run that is stored has all it needs.
  func keep(_ run: AccuracyRun, version: [UInt8]?) throws {
    let name = try run.configuration.digest
    if let version {
      try Data(version).write(to: folder.appendingPathComponent(name + ".safetensors"), options: .atomic)
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    try encoder.encode(run).write(to: folder.appendingPathComponent(name + ".json"), options: .atomic)
  }
}
