public import Adapters
public import Models
internal import Tensors

/// A training run as a state machine: it says which shards come next, takes their results and moves. It computes
/// nothing itself, starts no thread and reads no clock; whoever owns it drives it.
///
/// Equal data, settings, base and subspace give equal bytes: shards are cut by the data alone, their results are summed
/// in shard order, and every random choice is a function of the seed and the step.
///
/// Not Sendable: one owner at a time.
public final class TrainingRun {
  enum Phase: Equatable {
    case step
    /// The batch's embeddings are known: gradients at them, per shard, and the mean loss.
    case contrast(dOutputs: [[Float]], loss: Double)
    case validation
    case finished
  }

  /// Tokens of one shard at most: the longest that a request waits for a lane.
  public static let shardTokens = 512
  /// Shards of each lane that are best computed before their results are taken.
  public static let shardsTogether = 4
  private static let epochStream: UInt64 = 0x5eed_1000
  private static let headStream: UInt64 = 0x5eed_2000
  private static let siteStream: UInt64 = 0x5eed_3000

  public let settings: TrainingSettings
  /// Optimiser steps of the whole run.
  public let totalSteps: Int
  /// Optimiser steps done.
  public internal(set) var step = 0
  /// One entry per epoch that is over.
  public internal(set) var history: [TrainingMetrics] = []

  let base: BaseModel
  let set: TrainingSet
  let method: any TrainingMethod.Type
  let layout: ParameterLayout
  let subspace: ResidentSubspace?
  let stepsPerEpoch: Int
  var optimiser: Optimiser
  var phase: Phase = .step
  /// Σ of batch losses and batches of the current epoch.
  var epochLoss = (sum: 0.0, weight: 0.0)
  /// The best epoch's parameters, figures and thresholds.
  var best: Best?
  private var pending: [TrainingShard] = []
  private var taken = Taken()
  private var order: (epoch: Int, rows: [Int])?

  struct Best: Equatable {
    var values: [Float]
    var metrics: TrainingMetrics
    var thresholds: [Float]
  }

  /// What the results of the first pending shards come to.
  private struct Taken {
    var count = 0
    /// Empty where nothing was differentiated.
    var gradients: [Float] = []
    var loss = 0.0
    var tokens = 0
    /// A shard each.
    var outputs: [[Float]] = []
  }

  /// Prepares a run.
  ///
  /// - Parameters:
  ///   - subspace: what the method adapts through; nil for a method that needs none.
  ///   - resident: the same subspace where it is resident already, so that B is not packed again.
  ///   - from: a version to start from: same kind, method, rank, sites, subspace and labels.
  ///   - limitTapeBytes: what a shard may keep between its forward and its backward pass.
  public init(
    base: BaseModel, subspace: Subspace?, resident: ResidentSubspace? = nil, set: TrainingSet,
    settings: TrainingSettings, from: AdapterVersion? = nil, limitTapeBytes: Int = .max
  ) throws(TrainingError) {
    try settings.validate(on: base.family)
    try Self.check(base, set, settings, limitTapeBytes)
    guard let method = TrainingMethods.named(settings.method) else { throw .unknownMethod(settings.method) }
    guard set.kind == settings.kind else { throw .setting(name: "kind", reason: "is not the data's") }
    let start = Start(base: base, subspace: subspace, set: set, settings: settings, method: method)
    try start.check()
    let updates =
      try from.map { (version) throws(TrainingError) in try start.updates(of: version) }
      ?? start.updates(stream: Self.siteStream)
    let head = from?.head ?? start.head(stream: Self.headStream)
    layout = ParameterLayout(
      sites: base.sites, updates: updates, head: head, decaysBasis: method.decaysBasis)
    guard layout.count > 0 else {
      throw .setting(name: "sites", reason: "is empty, and the head has no layer")
    }
    try Self.check(parameters: layout.count, limitTapeBytes)
    if let subspace, method.needsSubspace, !method.trainsBasis {
      do throws(AdapterError) {
        if let resident {
          self.subspace = resident
        } else {
          self.subspace = try ResidentSubspace(subspace, sites: base.sites)
        }
      } catch {
        throw .adapter(error)
      }
      guard self.subspace?.digest == subspace.digest else {
        throw .adapter(.subspaceMismatch(expected: subspace.digest, actual: self.subspace?.digest))
      }
    } else {
      self.subspace = nil
    }
    self.base = base
    self.set = set
    self.settings = settings
    self.method = method
    optimiser = Optimiser(values: layout.initial)
    stepsPerEpoch = (set.train.count + settings.batchSize - 1) / settings.batchSize
    totalSteps = stepsPerEpoch * settings.epochs
  }

  /// Refuses texts whose passes do not fit: memory that is not there would end the process.
  private static func check(
    _ base: BaseModel, _ set: TrainingSet, _ settings: TrainingSettings, _ limitBytes: Int
  ) throws(TrainingError) {
    guard !settings.sites.isEmpty else { return }
    let tokens = max(shardTokens, set.rows.map(\.tokens).max() ?? 0)
    let longest = set.rows.flatMap(\.texts).map(\.count).max() ?? 0
    // A writer's scores are held beside the tape.
    let scores = settings.kind == .generation ? TokenLoss.limitBytes : 0
    func bytes(recomputes: Bool) -> Int {
      base.tapeBytes(tokens: tokens, longest: longest, recomputes: recomputes) + scores
    }
    let needed = bytes(recomputes: settings.recompute)
    guard needed <= limitBytes else {
      throw .setting(
        name: "max_length",
        reason: "lets a text of \(longest) tokens through, which needs about \(needed >> 20) MiB of"
          + " \(limitBytes >> 20); recompute needs \(bytes(recomputes: true) >> 20)")
    }
  }

  /// A checkpoint holds four vectors of them, and a value of the store at most 10⁹ bytes.
  private static let limitParameters = 60_000_000
  /// Vectors of parameters beside a shard's tape: themselves, two moments, the best epoch's, a snapshot, the gradient, and
  /// those of the shards of a lane whose sum is not taken yet.
  private static let parameterVectors = 6 + shardsTogether

  static func check(parameters: Int, _ limitBytes: Int) throws(TrainingError) {
    guard parameters <= limitParameters else {
      throw .setting(
        name: "rank", reason: "gives \(parameters) parameters, at most \(limitParameters) are trained")
    }
    let needed = parameters * parameterVectors * MemoryLayout<Float>.stride
    guard needed <= limitBytes else {
      throw .setting(
        name: "rank",
        reason: "gives \(parameters) parameters, which need about \(needed >> 20) MiB of \(limitBytes >> 20)")
    }
  }

  /// The epoch at work, from 1.
  public var epoch: Int {
    let begun = phase == .validation ? step - 1 : step
    return min(begun / stepsPerEpoch + 1, settings.epochs)
  }

  public var isFinished: Bool { phase == .finished }

  /// Bytes of parameters and moments.
  public var residentBytes: Int { layout.count * 3 * MemoryLayout<Float>.stride }

  /// The shards to compute now; the same ones again until `finish`, whatever results of them were taken.
  public func nextWork() -> TrainingWork {
    if phase == .finished { return .finished }
    taken = Taken()
    if pending.isEmpty { pending = shards() }
    return phase == .validation ? .validation(pending) : .step(pending)
  }

  private func shards() -> [TrainingShard] {
    let context = StepContext(
      base: base, set: set, settings: settings, layout: layout, values: optimiser.values,
      subspace: subspace, step: step)
    if phase == .validation {
      return set.shards(set.validation, limit: Self.shardTokens).map { .init(context, .evaluate, rows: $0) }
    }
    let rows = batch()
    let pieces = set.shards(rows, limit: Self.shardTokens)
    if case .contrast(let dOutputs, _) = phase {
      return zip(pieces, dOutputs).map { .init(context, .contrast(dOutputs: $1), rows: $0) }
    }
    if settings.kind == .embedding { return pieces.map { .init(context, .embed, rows: $0) } }
    let weight = rows.reduce(Float(0)) { $0 + set.rows[$1].mass }
    return pieces.map { .init(context, .train(scale: 1 / weight), rows: $0) }
  }

  /// The rows of the current step, in the epoch's order.
  func batch() -> [Int] {
    let epoch = step / stepsPerEpoch
    if order?.epoch != epoch {
      var random = RandomSource(seed: settings.seed, stream: Self.epochStream + UInt64(epoch))
      var rows = set.train
      random.shuffle(&rows)
      order = (epoch, rows)
    }
    let rows = order?.rows ?? []
    let first = step % stepsPerEpoch * settings.batchSize
    return Array(rows[first..<min(first + settings.batchSize, rows.count)])
  }

  /// Takes the results of the next shards of `nextWork()`, in shard order. A result has a gradient as long as the
  /// parameters: taken a few at a time, only their sum stays.
  public func take(_ results: [ShardResult]) {
    precondition(taken.count + results.count <= pending.count, "training: one result for each shard")
    for result in results {
      taken.count += 1
      taken.loss += result.loss
      taken.tokens += result.tokens
      taken.outputs.append(result.outputs)
      guard !result.gradients.isEmpty else { continue }
      if taken.gradients.isEmpty { taken.gradients = Array(repeating: 0, count: layout.count) }
      for index in taken.gradients.indices { taken.gradients[index] += result.gradients[index] }
    }
  }

  /// Moves on when the results of all shards are taken.
  ///
  /// - Throws: `.diverged` when the loss or the gradient is not finite; the run must not go on after that.
  public func finish() throws(TrainingError) -> TrainingReport {
    precondition(!pending.isEmpty && taken.count == pending.count, "training: a result for every shard")
    let rows = pending.flatMap(\.rows)
    var results = Taken()
    swap(&results, &taken)
    pending = []
    if phase == .validation { return finishValidation(rows, results) }
    if settings.kind == .embedding, phase == .step { return try finishEmbeddings(rows, results) }
    let weight = rows.reduce(0.0) { $0 + Double(set.rows[$1].mass) }
    var loss = results.loss / weight
    if case .contrast(_, let mean) = phase { loss = mean }
    return try apply(
      &results.gradients, loss: loss, weight: weight, examples: rows.count, tokens: results.tokens)
  }

  /// Takes all results at once and moves on.
  public func finish(_ results: [ShardResult]) throws(TrainingError) -> TrainingReport {
    take(results)
    return try finish()
  }

  private func finishEmbeddings(_ rows: [Int], _ results: Taken) throws(TrainingError) -> TrainingReport {
    let texts = rows.map { set.rows[$0].texts.count }
    let embeddings = results.outputs.flatMap(\.self)
    let width = embeddings.count / texts.reduce(0, +)
    let outcome = Contrastive.run(
      embeddings, width: width, texts: texts, temperature: settings.temperature, arena: Arena())
    guard outcome.loss.isFinite else { throw .diverged(step: step + 1, what: "the loss is not finite") }
    var at = 0
    let pieces = results.outputs.map { outputs in
      defer { at += outputs.count }
      return Array(outcome.gradients[at..<at + outputs.count])
    }
    phase = .contrast(dOutputs: pieces, loss: outcome.loss)
    return report(.half, loss: outcome.loss, norm: 0, rate: 0, examples: 0, tokens: results.tokens, nil)
  }

  private func apply(
    _ gradients: inout [Float], loss: Double, weight: Double, examples: Int, tokens: Int
  ) throws(TrainingError) -> TrainingReport {
    let norm = Optimiser.norm(gradients)
    guard loss.isFinite else { throw .diverged(step: step + 1, what: "the loss is not finite") }
    guard norm.isFinite else { throw .diverged(step: step + 1, what: "the gradient is not finite") }
    let factor = settings.schedule.factor(step: step, total: totalSteps, warmup: settings.warmup)
    let basisRate = settings.basisRate ?? 0
    let settings = settings
    optimiser.step(
      &gradients, norm: norm, clip: settings.clipNorm, layout: layout, step: step + 1,
      rate: { group in
        switch group {
        case .coefficients: settings.learningRate * factor
        case .basis: basisRate * factor
        case .head: settings.headLearningRate * factor
        }
      }, weightDecay: settings.weightDecay)
    step += 1
    epochLoss.sum += loss * weight
    epochLoss.weight += weight
    phase = .step
    var metrics: TrainingMetrics?
    let epochDone = step / stepsPerEpoch
    if step % stepsPerEpoch == 0 {
      if set.validation.isEmpty {
        metrics = TrainingMetrics(epoch: epochDone, trainingLoss: epochLoss.sum / epochLoss.weight)
        endEpoch(metrics)
      } else {
        phase = .validation
      }
    }
    return report(
      .step, loss: loss, norm: norm, rate: settings.learningRate * factor, examples: examples, tokens: tokens,
      metrics)
  }

  private func finishValidation(_ rows: [Int], _ results: Taken) -> TrainingReport {
    let validation = Validation(
      set: set, settings: settings, rows: rows, outputs: results.outputs.flatMap(\.self),
      lossSum: results.loss)
    let metrics = validation.metrics(
      epoch: step / stepsPerEpoch, trainingLoss: epochLoss.sum / epochLoss.weight)
    if best.map({ metrics.isBetter(than: $0.metrics, kind: settings.kind) }) ?? true {
      best = Best(values: optimiser.values, metrics: metrics, thresholds: validation.thresholds)
    }
    endEpoch(metrics)
    return report(
      .validation, loss: metrics.validationLoss ?? 0, norm: 0, rate: 0, examples: rows.count,
      tokens: results.tokens, metrics)
  }

  private func endEpoch(_ metrics: TrainingMetrics?) {
    if let metrics { history.append(metrics) }
    epochLoss = (0, 0)
    phase = step == totalSteps ? .finished : .step
  }

  private func report(
    _ stage: TrainingReport.Stage, loss: Double, norm: Double, rate: Float, examples: Int, tokens: Int,
    _ metrics: TrainingMetrics?
  ) -> TrainingReport {
    TrainingReport(
      stage: stage, step: step, totalSteps: totalSteps, epoch: metrics?.epoch ?? epoch, loss: loss,
      learningRate: rate, gradientNorm: norm, examples: examples, tokens: tokens, metrics: metrics)
  }

  /// The version that the run has made: the best epoch's where there was validation, else the parameters as they are.
  public func result() -> (version: AdapterVersion, metrics: TrainingMetrics?) {
    let values = best?.values ?? optimiser.values
    var updates: [String: SiteUpdate] = [:]
    for (index, site) in base.sites.enumerated() {
      guard let a = layout.coefficients[index] else { continue }
      updates[site.name] = method.update(
        coefficients: layout.matrix(a, values), basis: layout.bases[index].map { layout.matrix($0, values) })
    }
    let isMultilabel = settings.kind == .multilabel
    let thresholds = best?.thresholds ?? set.labels.map { _ in Float(0.5) }
    let head = Head(
      pooling: settings.pooling, dense: layout.layer(layout.dense, values),
      activation: layout.dense == nil ? nil : .tanh, linear: layout.layer(layout.linear, values),
      labels: set.labels, thresholds: isMultilabel ? thresholds : [], offset: set.offset, scale: set.scale)
    let version = AdapterVersion(
      kind: settings.kind, method: settings.method, rank: settings.rank, alpha: settings.alpha,
      base: base.digest, subspace: updates.isEmpty ? nil : subspace?.digest, updates: updates, head: head)
    return (version, best?.metrics ?? history.last)
  }
}
