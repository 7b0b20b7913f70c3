import Adapters
import Engine
import Models
import Tensors
import Tokenizers
import Training

/// A run of the kind generation at its defaults, for its memory: all sites, B frozen, layers computed again.
struct FineTuning {
  static let sequences = 4
  static let tokens = 128
  private static let steps = 2

  private let base: BaseModel
  private let tokenizer: Tokenizer

  init(model: String) throws {
    base = .decoder(try Decoder(Checkpoint(directory: model), as: .bfloat16Pairs))
    tokenizer = try Tokenizer(folder: model)
  }

  /// The most that was resident while it ran, in bytes, the base and what loading it took included.
  func peakBytes() async throws -> Int {
    let subspace = try SubspaceExtraction.random(
      sites: base.sites, base: base.digest, options: .init(rank: MemoryBenchmark.columns))
    let resident = try ResidentSubspace(subspace, sites: base.sites)
    var settings = TrainingSettings.defaults(kind: .generation, method: "cora", on: .decoder)
    settings.batchSize = Self.sequences
    settings.maxLength = Self.tokens
    settings.epochs = 1
    settings.validation = 0
    let set = try TrainingSet(
      examples: (0..<Self.sequences * Self.steps).map { Self.example(seed: UInt64($0)) }, kind: .generation,
      tokenizer: tokenizer, maxLength: Self.tokens, validation: 0, seed: 0)
    guard set.truncatedCount == Self.sequences * Self.steps else {
      throw BenchError("a text has fewer than \(Self.tokens) tokens")
    }
    let run = try TrainingRun(
      base: base, subspace: subspace, resident: resident, set: set, settings: settings)
    let lanes = ComputeLanes()
    defer { lanes.stop() }
    while try await lanes.advance(run) {}
    return try ResidentMemory.peak()
  }

  /// More tokens than are taken: no token holds a space inside.
  private static func example(seed: UInt64) -> TrainingExample {
    var random = RandomSource(seed: seed)
    let words = (0...tokens).map { _ in "\(random.next() % 1_000)" }
    return .completion(prompt: "", completion: words.joined(separator: " "))
  }
}
