public import Adapters

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// What one epoch gave. Validation figures are nil without validation rows.
public struct TrainingMetrics: Sendable, Equatable, Codable {
  /// From 1.
  public let epoch: Int
  /// Mean loss over the epoch's rows, as training saw it; generation: over the tokens to write, here and below.
  public let trainingLoss: Double
  /// Rows validated.
  public let rows: Int
  public let validationLoss: Double?
  /// Share of rows answered right; multilabel: all labels right; embedding: the own positive is the nearest of a batch.
  public let accuracy: Double?
  /// Mean of F1 over the labels (classification, multilabel).
  public let macroF1: Double?
  /// Root of the mean squared error, in the values' own units (regression).
  public let rootMeanSquaredError: Double?
  /// e to the validation loss (generation).
  public let perplexity: Double?

  public init(
    epoch: Int, trainingLoss: Double, rows: Int = 0, validationLoss: Double? = nil, accuracy: Double? = nil,
    macroF1: Double? = nil, rootMeanSquaredError: Double? = nil, perplexity: Double? = nil
  ) {
    self.epoch = epoch
    self.trainingLoss = trainingLoss
    self.rows = rows
    self.validationLoss = validationLoss
    self.accuracy = accuracy
    self.macroF1 = macroF1
    self.rootMeanSquaredError = rootMeanSquaredError
    self.perplexity = perplexity
  }

  static func perplexity(_ loss: Double) -> Double { min(exp(loss), .greatestFiniteMagnitude) }

  /// The figure that chooses the best epoch and decides `if_better`; higher is better, nil without validation.
  public func score(_ kind: TaskKind) -> Double? {
    switch kind {
    case .classification, .embedding: accuracy
    case .multilabel: macroF1
    case .regression: rootMeanSquaredError.map { -$0 }
    case .generation: validationLoss.map { -$0 }
    }
  }

  /// True when this is the better of two epochs: by the score, and between equals by the validation loss.
  public func isBetter(than other: TrainingMetrics, kind: TaskKind) -> Bool {
    guard let mine = score(kind), let theirs = other.score(kind) else { return true }
    if mine != theirs { return mine > theirs }
    return (validationLoss ?? 0) < (other.validationLoss ?? 0)
  }
}
