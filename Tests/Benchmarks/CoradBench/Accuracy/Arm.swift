import Adapters
import Models
import Training

/// A row of the table: a method on one kind of subspace.
enum Arm: String, CaseIterable, Codable {
  case headOnly = "head-only"
  case lora
  case coraWeights = "cora-weights"
  case coraAdapters = "cora-adapters"
  case coraRandom = "cora-random"
  /// On the adapters subspace.
  case coraInit = "cora-init"

  var method: String {
    switch self {
    case .headOnly, .lora: "lora"
    case .coraInit: "cora-init"
    case .coraWeights, .coraAdapters, .coraRandom: "cora"
    }
  }

  /// Needs the versions that `lora` trains on the subspace tasks.
  var needsGrownSubspace: Bool { self == .coraAdapters || self == .coraInit }

  /// The rate that the grid moves: A's, and the head's for the head alone. Where B trains it has A's.
  static let grid: [Float] = [2e-3, 4e-3, 8e-3, 1.6e-2]
  private static let headRate: Float = 5e-3

  func settings(rate: Float, seed: UInt64) -> TrainingSettings {
    var settings = TrainingSettings(
      kind: .classification, method: method, learningRate: rate,
      headLearningRate: self == .headOnly ? rate : Self.headRate)
    settings.basisLearningRate = rate
    if self == .headOnly { settings.sites = [] }
    settings.rank = 8
    settings.alpha = 16
    settings.epochs = 3
    settings.batchSize = 32
    settings.maxLength = 128
    settings.validation = 0
    settings.seed = seed
    return settings
  }

  /// The rate without a grid: the method's own default.
  var defaultRate: Float {
    if self == .headOnly { return Self.headRate }
    return TrainingSettings.defaults(kind: .classification, method: method, on: .encoder).learningRate
  }
}
