import Adapters
import Engine
import Foundation
import Models
import Tensors
import Tokenizers
import Training

/// One labelled text of the package index.
struct LabelledText: Codable, Sendable {
  let text: String
  let label: String

  var example: TrainingExample { .classification(text: text, label: label) }

  static func read(_ path: URL) throws -> [LabelledText] {
    let decoder = JSONDecoder()
    return try String(contentsOf: path, encoding: .utf8).split(separator: "\n").map {
      try decoder.decode(LabelledText.self, from: Data($0.utf8))
    }
  }
}

/// The base with what a run needs, made once.
struct Workbench: Sendable {
  let checkpoint: Checkpoint
  let encoder: Encoder
  let tokenizer: Tokenizer
  let lanes: ComputeLanes

  init(model: String, lanes: Int) throws {
    checkpoint = try Checkpoint(directory: model)
    encoder = try Encoder(checkpoint)
    let json = try Data(contentsOf: URL(fileURLWithPath: model + "/tokenizer.json"))
    tokenizer = try Tokenizer(json: [UInt8](json))
    self.lanes = ComputeLanes(count: lanes)
  }

  /// One unit of a run's work on the lanes. False: the run has finished.
  func advance(_ run: TrainingRun) async throws -> Bool { try await lanes.advance(run) }

  /// The best label of every text, answered as the daemon answers.
  func labels(
    _ texts: [String], version: AdapterVersion, subspace: Subspace?, maxLength: Int
  ) async throws -> [String] {
    let adapter = try ResidentAdapter(version, sites: encoder.sites)
    let resident = try subspace.map { try ResidentSubspace($0, sites: encoder.sites) }
    let executor = BatchExecutor(base: .encoder(encoder), lanes: lanes)
    var labels: [String] = []
    for start in stride(from: 0, to: texts.count, by: Self.batchRows) {
      let rows = texts[start..<min(start + Self.batchRows, texts.count)].map { text in
        let encoding = tokenizer.encode(text, limit: maxLength)
        return BatchRow(
          ids: encoding.ids, typeIDs: encoding.typeIDs, adapter: adapter, subspace: resident, normalize: false
        )
      }
      for prediction in await executor.run(rows, primary: resident) {
        guard case .classification(let scores) = prediction,
          let best = scores.indices.max(by: { (scores[$0], -$0) < (scores[$1], -$1) })
        else { throw BenchError("a classification answered with \(prediction)") }
        labels.append(version.head.labels[best])
      }
    }
    return labels
  }

  private static let batchRows = 128
}

extension ComputeLanes {
  /// One unit of a run's work. False: the run has finished.
  func advance(_ run: TrainingRun) async throws -> Bool {
    switch run.nextWork() {
    case .finished: return false
    case .step(let shards), .validation(let shards):
      let results = await map(.training, shards) { shard, arena in
        TrainingRun.compute(shard, arena: arena)
      }
      _ = try run.finish(results)
      return true
    }
  }
}
