import Adapters
import Engine
import Models
import Tensors
import Tokenizers
import Training

/// One comparison: rows, their cut, and a method.
struct TrainCase {
  static let batchSize = 32
  static let rank = 8
  static let learningRate: Float = 1e-3

  let bench: Workbench
  let rows: [LabelledText]
  let limit: Int
  let method: String

  private struct Prepare: Encodable {
    struct Row: Encodable {
      let ids: [Int32]
      let label: Int
    }
    let command = "prepare"
    let method: String
    let rows: [Row]
    let labels: Int
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let batch_size = TrainCase.batchSize
    let rank = TrainCase.rank
    let alpha = 2 * TrainCase.rank
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let learning_rate = TrainCase.learningRate
    let seed = 0
    let target = ["query", "value"]
  }
  private struct Prepared: Decodable {
    let tokens: Int
    let trainable: Int
  }
  private struct Steps: Encodable {
    let command = "run"
    let steps: Int
  }
  private struct Done: Decodable {
    let seconds: Double
    let tokens: Int
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let padded_tokens: Int
    let losses: [Double]
  }

  func measure(peer: Peer, rounds: Int) async throws -> TrainMeasurement {
    let labels = Set(rows.map(\.label)).sorted()
    var random = RandomSource(seed: 1)
    // Ours shuffles every epoch; the peer gets its order once, as random as ours.
    var given = rows.map { row in
      Prepare.Row(
        ids: bench.tokenizer.encode(row.text, limit: limit).ids, label: labels.firstIndex(of: row.label) ?? 0)
    }
    random.shuffle(&given)
    let prepared: Prepared = try peer.call(Prepare(method: method, rows: given, labels: labels.count))
    let run = try makeRun(epochs: rounds + 1)
    let steps = rows.count / Self.batchSize
    // The first pass of both warms up and is not counted.
    let warm: Done = try peer.call(Steps(steps: steps))
    _ = try await pass(run, steps: steps)
    var measured = TrainMeasurement(
      tokensPerPass: prepared.tokens, peerPadding: 1 - Double(warm.tokens) / Double(warm.padded_tokens))
    for _ in 0..<rounds {
      let ours = try await pass(run, steps: steps)
      let theirs: Done = try peer.call(Steps(steps: steps))
      measured.add(
        ours: Double(prepared.tokens) / ours, peer: Double(theirs.tokens) / theirs.seconds)
      measured.losses["peer", default: []].append(theirs.losses.last ?? .nan)
    }
    measured.losses["corad"] = run.history.dropFirst().map(\.trainingLoss)
    return measured
  }

  /// Seconds of one pass over all rows: collating, forward, backward and the optimiser, as for the peer.
  private func pass(_ run: TrainingRun, steps: Int) async throws -> Double {
    let clock = ContinuousClock()
    let started = clock.now
    let end = run.step + steps
    while run.step < end, try await bench.advance(run) {}
    return (clock.now - started).seconds
  }

  private func makeRun(epochs: Int) throws -> TrainingRun {
    var settings = TrainingSettings(
      kind: .classification, method: method, learningRate: Self.learningRate,
      headLearningRate: Self.learningRate)
    settings.basisLearningRate = Self.learningRate
    settings.rank = Self.rank
    settings.alpha = Float(2 * Self.rank)
    settings.epochs = epochs
    settings.batchSize = Self.batchSize
    settings.schedule = .constant
    settings.warmup = 0
    settings.clipNorm = 0
    settings.validation = 0
    settings.maxLength = limit
    let set = try TrainingSet(
      examples: rows.map(\.example), kind: .classification, tokenizer: bench.tokenizer, maxLength: limit,
      validation: 0, seed: 0)
    let subspace =
      method == "cora"
      ? try SubspaceExtraction.random(
        sites: bench.encoder.sites, base: bench.encoder.digest, options: .init(rank: Self.rank)) : nil
    return try TrainingRun(base: .encoder(bench.encoder), subspace: subspace, set: set, settings: settings)
  }
}
