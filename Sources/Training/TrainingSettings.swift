public import Adapters
public import Models

/// How the learning rate moves after warm-up.
public enum LearningRateSchedule: String, Sendable, CaseIterable, Codable {
  case linear, cosine, constant
}

/// The head's dense layer.
public enum HeadDense: String, Sendable, CaseIterable, Codable {
  /// No dense layer.
  case none
  /// Starts from the checkpoint's pooler, with tanh.
  case pooler
  /// Starts at random, with tanh.
  case fresh
}

/// Everything that a run's result depends on beside the data, the base and the subspace.
public struct TrainingSettings: Sendable, Equatable, Codable {
  public var kind: TaskKind
  public var method: String
  public var rank: Int = 8
  /// s = alpha / rank.
  public var alpha: Float = 16
  /// The sites to adapt, in every layer; none trains the head alone.
  public var sites: [SiteKind] = [.query, .value]
  public var epochs: Int = 3
  /// Rows of one optimiser step.
  public var batchSize: Int = 32
  /// The peak rate of A.
  public var learningRate: Float
  /// The peak rate of the head.
  public var headLearningRate: Float
  /// The peak rate of B where it trains; nil: A's.
  public var basisLearningRate: Float?
  public var schedule: LearningRateSchedule = .linear
  /// Share of all steps, 0 ..< 1.
  public var warmup: Float = 0.06
  /// Decoupled; 0 is off. Never on biases nor on a B that started from a subspace.
  public var weightDecay: Float = 0
  /// The gradient's global norm at most; 0 is off.
  public var clipNorm: Float = 1
  /// Share of an encoder's hidden values dropped while training, 0 ..< 1; 0 on a decoder.
  public var dropout: Float = 0
  /// Tokens of one text at most, special ones included.
  public var maxLength: Int = 128
  /// Share of the rows kept for validation, 0 ..< 1; 0 is none.
  public var validation: Float = 0.1
  public var seed: UInt64 = 0
  public var pooling: Pooling = .mean
  public var headDense: HeadDense = .none
  /// Embedding: similarities are divided by it.
  public var temperature: Float = 0.05
  /// Keep each layer's input only between forward and backward, and compute the rest again: the same version bit for
  /// bit in less memory, for about a third more work.
  public var recompute: Bool {
    get { recomputes ?? false }
    set { recomputes = newValue ? true : nil }
  }
  /// Never false, so that settings that were stored without it decode.
  private var recomputes: Bool?

  public init(kind: TaskKind, method: String, learningRate: Float, headLearningRate: Float) {
    self.kind = kind
    self.method = method
    self.learningRate = learningRate
    self.headLearningRate = headLearningRate
  }

  /// Defaults that are good for a newcomer; unknown methods get CoRA's.
  public static func defaults(kind: TaskKind, method: String, on family: ModelFamily) -> TrainingSettings {
    let rates = (TrainingMethods.named(method) ?? CoRA.self).learningRates
    var settings = TrainingSettings(
      kind: kind, method: method, learningRate: rates.coefficients, headLearningRate: rates.head)
    settings.sites = sites(kind: kind, on: family)
    settings.pooling = pooling(kind: kind, on: family)
    guard kind == .generation else { return settings }
    settings.batchSize = 8
    settings.maxLength = 512
    settings.recompute = true
    return settings
  }

  private static func sites(kind: TaskKind, on family: ModelFamily) -> [SiteKind] {
    switch kind {
    case .classification, .multilabel, .regression, .embedding: [.query, .value]
    case .generation: family.siteKinds
    }
  }

  /// The last token of a decoder alone has seen the whole text; a text's meaning as a vector is spread over all.
  private static func pooling(kind: TaskKind, on family: ModelFamily) -> Pooling {
    switch (family, kind) {
    case (.encoder, _), (.decoder, .embedding): .mean
    case (.decoder, .classification), (.decoder, .multilabel), (.decoder, .regression): .last
    // Written into the version, and read by nobody.
    case (.decoder, .generation): .last
    }
  }

  /// The rate of B: the one given, else A's; nil where the method does not train B.
  public var basisRate: Float? {
    guard TrainingMethods.named(method)?.trainsBasis == true else { return nil }
    return basisLearningRate ?? learningRate
  }

  /// Refuses the first setting that is out of range or that the base cannot have, by its name over HTTP.
  public func validate(on family: ModelFamily) throws(TrainingError) {
    guard TrainingMethods.named(method) != nil else { throw .unknownMethod(method) }
    guard kind != .generation || family == .decoder else {
      throw .setting(name: "kind", reason: "is generation, but the base is an encoder, which does not write")
    }
    guard kind != .embedding || batchSize >= 2 else {
      throw .setting(
        name: "batch_size", reason: "must be at least 2 for embeddings: the others are the negatives")
    }
    try require("rank", rank, in: 1...1_024)
    try require("epochs", epochs, in: 1...1_000)
    try require("batch_size", batchSize, in: 1...4_096)
    try require("max_length", maxLength, in: 3...1_000_000)
    try require("alpha", alpha, above: 0, through: 10_000)
    try require("learning_rate", learningRate, above: 0, through: 1)
    try require("head_learning_rate", headLearningRate, above: 0, through: 1)
    if let rate = basisLearningRate { try require("basis_learning_rate", rate, above: 0, through: 1) }
    try require("temperature", temperature, above: 0, through: 100)
    try require("warmup", warmup, share: true)
    try require("dropout", dropout, share: true)
    try require("validation", validation, share: true)
    try require("weight_decay", weightDecay, share: true)
    guard clipNorm >= 0, clipNorm <= 1e30 else {
      throw .setting(name: "clip_norm", reason: "is \(clipNorm), must be 0 through 1e30")
    }
    guard Set(sites).count == sites.count else {
      throw .setting(name: "sites", reason: "names a site twice")
    }
    if let unknown = sites.first(where: { !family.siteKinds.contains($0) }) {
      throw .setting(name: "sites", reason: "names \(unknown.rawValue), which the base does not have")
    }
    guard family == .decoder else { return }
    guard dropout == 0 else {
      throw .setting(name: "dropout", reason: "is \(dropout), must be 0: the base is a decoder")
    }
    guard pooling != .cls else {
      throw .setting(name: "pooling", reason: "is cls, but a decoder's first token has seen no other")
    }
    guard kind != .generation || pooling == .last else {
      throw .setting(name: "pooling", reason: "is \(pooling.rawValue), but a writer pools nothing")
    }
    guard kind != .generation || headDense == .none else {
      throw .setting(name: "head_dense", reason: "is \(headDense.rawValue), but a writer has no head")
    }
    guard headDense != .pooler else {
      throw .setting(name: "head_dense", reason: "is pooler, which a decoder does not have")
    }
  }

  private func require(_ name: String, _ value: Int, in range: ClosedRange<Int>) throws(TrainingError) {
    guard range.contains(value) else {
      throw .setting(
        name: name, reason: "is \(value), must be \(range.lowerBound) through \(range.upperBound)")
    }
  }

  private func require(
    _ name: String, _ value: Float, above: Float, through: Float
  ) throws(TrainingError) {
    guard value > above, value <= through else {
      throw .setting(name: name, reason: "is \(value), must be above \(above) and at most \(through)")
    }
  }

  private func require(_ name: String, _ value: Float, share: Bool) throws(TrainingError) {
    guard value >= 0, value < 1 else {
      throw .setting(name: name, reason: "is \(value), must be at least 0 and below 1")
    }
  }
}
