import Adapters
import Models
import Tensors
import Testing

@testable import Training

/// Whole runs on a tiny random model.
struct RunTests {
  private static let model = RandomBERT(
    width: 16, layers: 2, heads: 2, intermediate: 24, vocabulary: 64, positions: 32)

  /// What the tests of this suite share: loading is the slow part.
  private struct World {
    let encoder: Encoder
    let subspace: Subspace

    init() throws {
      encoder = try RunTests.model.encoder()
      subspace = try SubspaceExtraction.random(
        sites: encoder.sites, base: encoder.digest, options: .init(rank: 8, seed: 5))
    }
  }

  /// Tokens of a text: its bytes folded into the small vocabulary, so that a row's first letter is its class.
  private static func encode(
    _ text: String, _ pair: String?
  ) -> (ids: [Int32], types: [Int32], isTruncated: Bool) {
    let ids = text.utf8.prefix(24).map { Int32($0 % 64) }
    return (ids, ids.map { _ in 0 }, false)
  }

  static func examples(_ kind: TaskKind, count: Int = 36) -> [TrainingExample] {
    var random = RandomSource(seed: 77)
    return (0..<count).map { index in
      let group = index % 3
      let filler = String(
        (0..<3 + random.below(9)).map { _ in Character(UnicodeScalar(UInt8(112 + random.below(8)))) })
      let text = ["abcab", "fghgf", "klmlk"][group] + filler
      switch kind {
      case .classification:
        return .classification(text: text, label: "l\(group)", weight: Float(1 + index % 2))
      case .multilabel:
        return .multilabel(text: text, labels: group == 0 ? ["x"] : group == 1 ? ["x", "y"] : [])
      case .regression: return .regression(text: text, value: Float(10 + 5 * group))
      case .embedding:
        return .embedding(
          anchor: text, positive: String(text.reversed()), negative: index % 2 == 0 ? "zzz\(filler)" : nil)
      case .generation:
        return .completion(prompt: String(text.prefix(3)), completion: text, weight: Float(1 + index % 2))
      }
    }
  }

  static func set(_ kind: TaskKind, validation: Float = 0.25) throws -> TrainingSet {
    try TrainingSet(
      examples: examples(kind), kind: kind, validation: validation, seed: 3, labels: nil, write: write,
      encode: encode)
  }

  /// A prompt's tokens, the completion's and an end.
  private static func write(_ example: TrainingExample, _ row: Int) throws(TrainingError)
    -> WriterEncoder.Tokens
  {
    guard case .completion(let prompt, let completion, _) = example else {
      throw .rowKind(row: row, expected: .generation)
    }
    let (opening, rest) = (encode(prompt, nil).ids, encode(completion, nil).ids)
    let ids = opening + rest + [0]
    return .init(ids: ids, targets: [opening.count..<ids.count])
  }

  static func settings(
    _ kind: TaskKind, _ method: String, on family: ModelFamily = .encoder
  ) -> TrainingSettings {
    var settings = TrainingSettings.defaults(kind: kind, method: method, on: family)
    settings.rank = 4
    settings.alpha = 8
    settings.batchSize = 8
    settings.epochs = 3
    settings.weightDecay = 0.01
    if kind == .regression {
      settings.learningRate *= 2
      settings.headLearningRate *= 4
    }
    if kind == .generation {
      settings.learningRate *= 4
      settings.recompute = false
    }
    settings.dropout = kind == .embedding && family == .encoder ? 0.1 : 0
    return settings
  }

  /// Drives a run until `stop` pieces of work are done or it is finished; returns the reports.
  @discardableResult
  static func drive(_ run: TrainingRun, pieces: Int = .max) throws -> [TrainingReport] {
    let arena = Arena()
    var reports: [TrainingReport] = []
    while reports.count < pieces {
      switch run.nextWork() {
      case .finished: return reports
      case .step(let shards), .validation(let shards):
        // Any order of computing: results are handed over in shard order, at once or one by one.
        let results = shards.indices.reversed().map { TrainingRun.compute(shards[$0], arena: arena) }
        if reports.count.isMultiple(of: 2) {
          reports.append(try run.finish(results.reversed()))
        } else {
          for result in results.reversed() { run.take([result]) }
          reports.append(try run.finish())
        }
      }
    }
    return reports
  }

  private static func run(
    _ world: World, _ kind: TaskKind, _ method: String, change: (inout TrainingSettings) -> Void = { _ in }
  ) throws -> TrainingRun {
    var settings = settings(kind, method)
    change(&settings)
    return try TrainingRun(
      base: .encoder(world.encoder), subspace: method == "lora" ? nil : world.subspace, set: set(kind),
      settings: settings)
  }

  @Test(arguments: ["cora", "cora-init", "lora"], TaskKind.allCases.filter { $0 != .generation })
  func equalRunsAndResumedRunsGiveEqualBytes(_ method: String, _ kind: TaskKind) throws {
    let world = try World()
    let first = try Self.run(world, kind, method)
    let reports = try Self.drive(first)
    #expect(first.isFinished)
    let bytes = first.result().version.encoded()
    let second = try Self.run(world, kind, method)
    try Self.drive(second)
    #expect(second.result().version.encoded() == bytes)

    for pieces in [1, 2, 5, reports.count - 1, reports.count] {
      let interrupted = try Self.run(world, kind, method)
      try Self.drive(interrupted, pieces: pieces)
      _ = interrupted.nextWork()
      let resumed = try TrainingRun(
        resuming: interrupted.checkpoint(), base: .encoder(world.encoder),
        subspace: method == "lora" ? nil : world.subspace, set: Self.set(kind),
        settings: Self.settings(kind, method))
      try Self.drive(resumed)
      #expect(resumed.result().version.encoded() == bytes, "resumed after \(pieces) pieces")
      #expect(resumed.history == first.history)
    }
    let steps = reports.filter { $0.stage == .step }
    #expect(steps.count == first.totalSteps)
    #expect(reports.allSatisfy { $0.loss.isFinite })
    #expect(first.history.count == 3)
    if kind != .embedding {
      #expect(first.history[2].trainingLoss < first.history[0].trainingLoss, "it learns")
    }

    let version = first.result().version
    #expect((version.subspace == nil) == (method != "cora"))
    try version.validate(
      sites: world.encoder.sites, base: world.encoder.digest, width: 16,
      subspace: method == "cora" ? world.subspace : nil)
    #expect(try AdapterVersion(encoded: bytes) == version)
  }

  @Test func separableTaskIsLearnt() throws {
    let world = try World()
    let run = try Self.run(world, .classification, "cora") { settings in
      settings.epochs = 12
      settings.learningRate = 2e-2
      settings.headLearningRate = 5e-2
    }
    try Self.drive(run)
    let metrics = try #require(run.result().metrics)
    #expect(metrics.accuracy == 1)
    #expect(metrics.macroF1 == 1)
    let best = run.history.compactMap(\.accuracy).max()
    #expect(metrics.accuracy == best, "the best epoch is kept")
  }

  /// Pairs whose two texts have no letter in common: the bare base cannot match them.
  @Test func embeddingsAreLearnt() throws {
    let world = try World()
    var random = RandomSource(seed: 78)
    let examples = (0..<32).map { _ in
      let letters = (0..<6).map { _ in UInt8(64 + random.below(24)) }
      func text(_ shift: UInt8) -> String { String(decoding: letters.map { $0 + shift }, as: UTF8.self) }
      return TrainingExample.embedding(anchor: text(0), positive: text(32))
    }
    let set = try TrainingSet(
      examples: examples, kind: .embedding, validation: 0, seed: 3, labels: nil, encode: Self.encode)
    var settings = Self.settings(.embedding, "cora")
    settings.dropout = 0
    settings.epochs = 12
    settings.learningRate = 2e-2
    settings.temperature = 0.1
    settings.sites = SiteKind.encoder
    let run = try TrainingRun(
      base: .encoder(world.encoder), subspace: world.subspace, set: set, settings: settings)
    try Self.drive(run)
    let losses = run.history.map(\.trainingLoss)
    #expect(try #require(losses.last) < 0.7 * losses[0], "\(losses)")
  }

  @Test func aStepThatIsBegunAgainForgetsTheResultsThatWereTaken() throws {
    let world = try World()
    let arena = Arena()
    let (plain, stopped) = (try Self.run(world, .embedding, "cora"), try Self.run(world, .embedding, "cora"))
    // Both halves of a step, and the validation after it.
    for _ in 0..<3 * plain.stepsPerEpoch {
      switch stopped.nextWork() {
      case .finished: break
      case .step(let shards), .validation(let shards):
        stopped.take([TrainingRun.compute(shards[0], arena: arena)])
      }
      try Self.drive(stopped, pieces: 1)
      try Self.drive(plain, pieces: 1)
      #expect(stopped.checkpoint() == plain.checkpoint())
    }
  }

  @Test func moreParametersThanMemoryOrACheckpointTakesAreRefused() throws {
    func refuses(_ parameters: Int, _ limitBytes: Int) {
      #expect {
        try TrainingRun.check(parameters: parameters, limitBytes)
      } throws: { error in
        guard case .setting("rank", _) = error as? TrainingError else { return false }
        return true
      }
    }
    try TrainingRun.check(parameters: 1_000, 40_000)
    refuses(1_000, 39_999)
    refuses(60_000_001, .max)
  }

  @Test func twoRunsShareOneBasisAndLeaveItAlone() throws {
    let world = try World()
    let resident = try ResidentSubspace(world.subspace, sites: world.encoder.sites)
    let before = world.subspace.encoded()
    let runs = try (0..<2).map { _ in
      try TrainingRun(
        base: .encoder(world.encoder), subspace: world.subspace, resident: resident,
        set: Self.set(.classification),
        settings: Self.settings(.classification, "cora"))
    }
    for run in runs {
      guard case .step(let shards) = run.nextWork() else { continue }
      for shard in shards {
        for (site, columns) in shard.context.columns.enumerated() where columns != nil {
          #expect(columns === resident.columns[site])
        }
      }
      try Self.drive(run)
    }
    #expect(world.subspace.encoded() == before)
    // B read back through the packed copy: an identity through Bᵀ and back is what it was.
    let fresh = try ResidentSubspace(world.subspace, sites: world.encoder.sites)
    for (used, unused) in zip(resident.columns, fresh.columns) {
      guard let used, let unused else { continue }
      var identity = Matrix(zeros: used.inputs, used.inputs)
      for index in 0..<used.inputs { identity[index, index] = 1 }
      let arena = Arena()
      let images = [used, unused].map { columns in
        let y = arena.matrix(columns.inputs, columns.outputs)
        columns.multiply(
          arena.matrix(copying: identity), bias: nil, extra: nil, accumulate: false, into: y)
        return Matrix(y)
      }
      #expect(images[0] == images[1])
    }
  }

  /// At the start `s·B·A` is zero for every method, so the first loss is the bare base's with the same head.
  @Test(arguments: TrainingMethods.all.map { $0.name })
  func startsAtTheBase(_ method: String) throws {
    let world = try World()
    let run = try Self.run(world, .classification, method)
    let bare = try Self.run(world, .classification, method) { $0.sites = [] }
    let first = try #require(Self.drive(run, pieces: 1).first)
    let plain = try #require(Self.drive(bare, pieces: 1).first)
    #expect(first.loss == plain.loss)
    #expect(first.gradientNorm > plain.gradientNorm, "the adapter has a gradient too")
  }

  /// With orthonormal frozen B a gradient step on A moves W by −η·s²·B·Bᵀ·G. METHODS 1.3.
  @Test func frozenBasisStepIsAProjectedStep() throws {
    let world = try World()
    let width = 16
    let site = try #require(world.encoder.sites.first { $0.kind == .value })
    // G through an identity B of full rank: gA = s·Iᵀ·G.
    var identity = Matrix(zeros: width, width)
    for index in 0..<width { identity[index, index] = 1 }
    let full = try gradient(world, rank: width, site) { target in
      (Matrix(zeros: width, target.inputs), identity)
    }
    let frozen = try gradient(world, rank: 4, site, nil)
    let basis = try #require(world.subspace.sites[site.name]?.basis)
    let s = 2.0
    for r in 0..<4 {
      for column in 0..<width {
        var expected = 0.0
        for row in 0..<width {
          expected += s * Double(basis[row, r]) * Double(full[row * width + column]) / s
        }
        #expect(abs(Double(frozen[r * width + column]) - expected) < 1e-6)
      }
    }
  }

  /// The gradient of A at one site in the first step, with s = 2.
  private func gradient(
    _ world: World, rank: Int, _ site: Site, _ start: ((Site) -> (Matrix, Matrix))?
  ) throws -> [Float] {
    var settings = Self.settings(.classification, start == nil ? "cora" : "lora")
    settings.rank = rank
    settings.alpha = 2 * Float(rank)
    let set = try Self.set(.classification)
    var from: AdapterVersion?
    let model = try TrainingRun(
      base: .encoder(world.encoder), subspace: world.subspace, set: set,
      settings: Self.settings(.classification, "cora"))
    if let start {
      let adapted = world.encoder.sites.filter { settings.sites.contains($0.kind) }
      let updates = adapted.map { site in
        let (a, b) = start(site)
        return (site.name, SiteUpdate(coefficients: a, privateBasis: b))
      }
      from = AdapterVersion(
        kind: .classification, method: "lora", rank: rank, alpha: settings.alpha, base: world.encoder.digest,
        subspace: nil, updates: Dictionary(uniqueKeysWithValues: updates), head: model.result().version.head)
    }
    let run = try TrainingRun(
      base: .encoder(world.encoder), subspace: world.subspace, set: set, settings: settings, from: from)
    guard case .step(let shards) = run.nextWork() else { return [] }
    let arena = Arena()
    var sum = [Float](repeating: 0, count: run.layout.count)
    for shard in shards {
      let result = TrainingRun.compute(shard, arena: arena)
      for index in sum.indices { sum[index] += result.gradients[index] }
    }
    let tensor = try #require(run.layout.tensors.first { $0.name == "\(site.name).A" })
    return Array(sum[tensor.range])
  }

  @Test func warmStartGoesOnFromAVersion() throws {
    let world = try World()
    let first = try Self.run(world, .classification, "cora")
    try Self.drive(first)
    let version = first.result().version
    let second = try TrainingRun(
      base: .encoder(world.encoder), subspace: world.subspace, set: Self.set(.classification),
      settings: Self.settings(.classification, "cora"), from: version)
    #expect(second.result().version.updates == version.updates)
    #expect(second.result().version.head.linear == version.head.linear)
    var other = Self.settings(.classification, "cora")
    other.rank = 2
    #expect(throws: TrainingError.self) {
      try TrainingRun(
        base: .encoder(world.encoder), subspace: world.subspace, set: Self.set(.classification),
        settings: other,
        from: version)
    }
  }

  @Test func refusesWhatCannotStart() throws {
    let world = try World()
    let set = try Self.set(.classification)
    var settings = Self.settings(.classification, "cora")
    #expect(throws: TrainingError.needsSubspace(method: "cora")) {
      try TrainingRun(base: .encoder(world.encoder), subspace: nil, set: set, settings: settings)
    }
    settings.rank = 9
    #expect(throws: TrainingError.rankAboveSubspace(rank: 9, columns: 8)) {
      try TrainingRun(base: .encoder(world.encoder), subspace: world.subspace, set: set, settings: settings)
    }
    settings = Self.settings(.classification, "cora")
    let run = try TrainingRun(
      base: .encoder(world.encoder), subspace: world.subspace, set: set, settings: settings)
    let checkpoint = run.checkpoint()
    settings.seed += 1
    for (bytes, settings) in [
      (checkpoint, settings), (Array(checkpoint.dropLast()), run.settings), (checkpoint + [0], run.settings),
      ([], run.settings),
    ] {
      #expect(throws: TrainingError.self) {
        try TrainingRun(
          resuming: bytes, base: .encoder(world.encoder), subspace: world.subspace, set: set,
          settings: settings)
      }
    }
  }

  @Test func divergenceIsAnError() throws {
    let world = try World()
    let run = try Self.run(world, .regression, "lora") { settings in
      settings.learningRate = 1
      settings.headLearningRate = 1
      settings.basisLearningRate = 1
      settings.clipNorm = 0
      settings.alpha = 10_000
      settings.epochs = 1_000
    }
    let huge = [Float](repeating: .infinity, count: run.layout.count)
    guard case .step(let shards) = run.nextWork() else { return }
    let results = shards.map { _ in ShardResult(gradients: huge, loss: 1, outputs: [], tokens: 1) }
    #expect(throws: TrainingError.diverged(step: 1, what: "the gradient is not finite")) {
      try run.finish(results)
    }
  }

  @Test func poolerAndFreshHeadsTrain() throws {
    let world = try World()
    for dense in [HeadDense.pooler, .fresh] {
      let run = try Self.run(world, .classification, "cora") { settings in
        settings.headDense = dense
        settings.pooling = .cls
      }
      try Self.drive(run)
      let head = run.result().version.head
      #expect(head.dense?.weight.rows == 16 && head.activation == .tanh)
    }
  }

  /// Validation's predictions are what serving answers with the resident version.
  @Test func servingAnswersAsValidationDid() throws {
    let world = try World()
    let run = try Self.run(world, .classification, "cora")
    try Self.drive(run)
    let (version, metrics) = run.result()
    let set = run.set
    let resident = try ResidentAdapter(version, sites: world.encoder.sites)
    let subspace = try ResidentSubspace(world.subspace, sites: world.encoder.sites)
    let batch = set.packed(set.validation)
    let arena = Arena()
    let predictions: [Prediction] = arena.scope {
      let patch = BatchPatch(
        sites: world.encoder.sites,
        groups: [RowGroup(rows: 0..<batch.ids.count, adapter: resident, subspace: subspace)],
        primary: subspace)
      let hidden = world.encoder.forward(batch, patch: patch, arena: arena)
      let tape = HeadForward.run(
        resident.head.views, hidden: hidden, starts: batch.starts, sequences: 0..<set.validation.count,
        arena: arena)
      return Prediction.all(kind: version.kind, head: version.head, outputs: tape.outputs)
    }
    let evaluation = Evaluation(
      kind: version.kind, labels: version.head.labels, predictions: predictions,
      truths: set.validation.map { set.rows[$0].target })
    #expect(evaluation.accuracy == metrics?.accuracy)
    #expect(evaluation.macroF1 == metrics?.macroF1)
  }
}
