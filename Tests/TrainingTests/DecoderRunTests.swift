import Adapters
import Foundation
import Models
import Tensors
import TestSupport
import Testing

@testable import Training

/// Whole runs on a small decoder, with the data of `RunTests`.
struct DecoderRunTests {
  private struct World {
    let base: BaseModel
    let subspace: Subspace
    private let made: MadeDecoder

    init() throws {
      var shape = MadeDecoder.Shape()
      shape.layers = 2
      made = try MadeDecoder(shape)
      let checkpoint = try Checkpoint(directory: made.directory)
      base = try BaseModel(checkpoint)
      subspace = try SubspaceExtraction.weights([checkpoint], base: checkpoint, options: .init(rank: 8))
    }
  }

  private static func run(
    _ world: World, _ kind: TaskKind, _ method: String, change: (inout TrainingSettings) -> Void = { _ in }
  ) throws -> TrainingRun {
    var settings = RunTests.settings(kind, method, on: .decoder)
    change(&settings)
    return try TrainingRun(
      base: world.base, subspace: method == "lora" ? nil : world.subspace, set: RunTests.set(kind),
      settings: settings)
  }

  @Test(arguments: ["cora", "cora-init", "lora"], TaskKind.allCases)
  func everyKindLearnsAndRecomputedAndResumedRunsGiveEqualBytes(_ method: String, _ kind: TaskKind) throws {
    let world = try World()
    let first = try Self.run(world, kind, method) { $0.sites = SiteKind.decoder }
    let reports = try RunTests.drive(first)
    let version = first.result().version
    let bytes = version.encoded()
    let again = try Self.run(world, kind, method) {
      $0.sites = SiteKind.decoder
      $0.recompute = true
    }
    try RunTests.drive(again)
    #expect(again.result().version.encoded() == bytes)

    let interrupted = try Self.run(world, kind, method) { $0.sites = SiteKind.decoder }
    try RunTests.drive(interrupted, pieces: 2)
    let resumed = try TrainingRun(
      resuming: interrupted.checkpoint(), base: world.base,
      subspace: method == "lora" ? nil : world.subspace, set: RunTests.set(kind),
      settings: interrupted.settings)
    try RunTests.drive(resumed)
    #expect(resumed.result().version.encoded() == bytes)

    for metrics in first.history where kind == .generation {
      #expect(metrics.perplexity == metrics.validationLoss.map(exp))
    }
    #expect(resumed.history == first.history)
    if kind == .generation {
      let losses = first.history.compactMap(\.validationLoss)
      #expect(first.result().metrics?.validationLoss == losses.min(), "the best epoch is kept")
      #expect(version.head == Head(pooling: .last))
    }
    #expect(reports.allSatisfy { $0.loss.isFinite })
    #expect(first.history[2].trainingLoss < first.history[0].trainingLoss, "it learns")
    #expect(version.updates.count == 14)
    #expect(version.head.pooling == (kind == .embedding ? .mean : .last))
    try version.validate(
      sites: world.base.sites, base: world.base.digest, width: world.base.width, subspace: world.subspace)
    // Keys of grouped queries have 32 outputs: B is narrower than the query's, A is not.
    let key = try #require(version.updates["model.layers.0.self_attn.k_proj"])
    #expect(key.coefficients.rows == 4 && key.coefficients.columns == 48)
    #expect(key.privateBasis == nil || key.privateBasis?.rows == 32)
  }

  @Test func aRankAboveANarrowSiteIsThatSitesOwn() throws {
    var shape = MadeDecoder.Shape()
    shape.keyValueHeads = 1
    shape.headSize = 4
    let made = try MadeDecoder(shape)
    let base = try BaseModel(Checkpoint(directory: made.directory))
    var settings = RunTests.settings(.classification, "lora", on: .decoder)
    settings.rank = 12
    settings.epochs = 1
    settings.sites = [.query, .key]
    let run = try TrainingRun(
      base: base, subspace: nil, set: RunTests.set(.classification), settings: settings)
    try RunTests.drive(run)
    let updates = run.result().version.updates
    #expect(updates["model.layers.0.self_attn.q_proj"]?.coefficients.rows == 12)
    #expect(updates["model.layers.0.self_attn.k_proj"]?.coefficients.rows == 4)
  }

  @Test func whatADecoderCannotHaveIsRefusedByName() throws {
    func refused(_ name: String, on family: ModelFamily, _ change: (inout TrainingSettings) -> Void) {
      var settings = TrainingSettings.defaults(kind: .classification, method: "cora", on: family)
      change(&settings)
      #expect {
        try settings.validate(on: family)
      } throws: { error in
        guard case .setting(name, _) = error as? TrainingError else { return false }
        return true
      }
    }
    refused("dropout", on: .decoder) { $0.dropout = 0.1 }
    refused("pooling", on: .decoder) { $0.pooling = .cls }
    refused("head_dense", on: .decoder) { $0.headDense = .pooler }
    refused("sites", on: .encoder) { $0.sites = [.gate] }
    for family in ModelFamily.allCases {
      for kind in TaskKind.allCases {
        let settings = TrainingSettings.defaults(kind: kind, method: "cora", on: family)
        #expect(settings.pooling == (family == .decoder && kind != .embedding ? .last : .mean))
        guard kind == .generation else {
          try settings.validate(on: family)
          #expect(settings.sites == [.query, .value])
          continue
        }
        #expect(settings.sites == family.siteKinds && settings.recompute)
      }
    }
    try TrainingSettings.defaults(kind: .generation, method: "lora", on: .decoder).validate(on: .decoder)
    refused("kind", on: .encoder) { $0.kind = .generation }
    refused("pooling", on: .decoder) { ($0.kind, $0.pooling) = (.generation, .mean) }
    refused("head_dense", on: .decoder) { ($0.kind, $0.headDense) = (.generation, .fresh) }
  }

  @Test func aTextWhosePassDoesNotFitIsRefusedBeforeItIsComputed() throws {
    let world = try World()
    let set = try RunTests.set(.classification)
    var settings = RunTests.settings(.classification, "cora", on: .decoder)
    func start(_ limitBytes: Int) throws {
      _ = try TrainingRun(
        base: world.base, subspace: world.subspace, set: set, settings: settings, limitTapeBytes: limitBytes)
    }
    let longest = set.rows.map(\.tokens).max() ?? 0
    let needed = world.base.tapeBytes(
      tokens: TrainingRun.shardTokens, longest: longest, recomputes: false)
    try start(needed)
    #expect {
      try start(needed - 1)
    } throws: { error in
      guard case .setting("max_length", _) = error as? TrainingError else { return false }
      return true
    }
    settings.recompute = true
    try start(needed - 1)
  }

  /// The rate of B is A's unless it is given.
  @Test(arguments: ["cora-init", "lora"])
  func theBasisFollowsTheLearningRate(_ method: String) throws {
    let world = try World()
    func trained(_ change: (inout TrainingSettings) -> Void) throws -> [UInt8] {
      let run = try Self.run(world, .classification, method) {
        $0.epochs = 1
        change(&$0)
      }
      try RunTests.drive(run)
      return run.result().version.encoded()
    }
    let followed = try trained { $0.learningRate = 1e-3 }
    #expect(
      try trained {
        $0.learningRate = 1e-3
        $0.basisLearningRate = 1e-3
      } == followed)
    #expect(
      try trained {
        $0.learningRate = 1e-3
        $0.basisLearningRate = 5e-4
      } != followed)
    #expect(TrainingSettings.defaults(kind: .embedding, method: "cora", on: .encoder).basisRate == nil)
  }

  /// Settings that were stored before there was a choice of recomputing.
  @Test func settingsWithoutRecomputeDecode() throws {
    var settings = TrainingSettings.defaults(kind: .classification, method: "cora", on: .decoder)
    let stored = try JSONEncoder().encode(settings)
    #expect(!String(decoding: stored, as: UTF8.self).contains("recompute"))
    #expect(try JSONDecoder().decode(TrainingSettings.self, from: stored) == settings)
    settings.recompute = true
    let chosen = try JSONDecoder().decode(TrainingSettings.self, from: JSONEncoder().encode(settings))
    #expect(chosen == settings && chosen.recompute)
    settings.recompute = false
    #expect(try JSONDecoder().decode(TrainingSettings.self, from: stored) == settings)
  }
}
