/// The next thing a run needs computed.
public enum TrainingWork: Sendable {
  /// The shards of an optimiser step, or of its first half where the loss needs the whole batch.
  case step([TrainingShard])
  /// The shards of the epoch's validation.
  case validation([TrainingShard])
  case finished
}

/// What finishing a piece of work brought.
public struct TrainingReport: Sendable, Equatable {
  public enum Stage: Sendable, Equatable {
    /// Half a step: nothing moved yet.
    case half
    case step
    /// The epoch is over and validated.
    case validation
  }

  public let stage: Stage
  /// Optimiser steps done.
  public let step: Int
  public let totalSteps: Int
  /// Epochs begun, from 1.
  public let epoch: Int
  /// Mean loss of the batch, or of the validation rows.
  public let loss: Double
  /// The rate of A at this step.
  public let learningRate: Float
  /// Before clipping.
  public let gradientNorm: Double
  public let examples: Int
  public let tokens: Int
  /// Of the epoch that ended with this work, if one did.
  public let metrics: TrainingMetrics?
}
