internal import Tensors

/// BERT's hidden dropout in training: after the embeddings' norm, and on the attention output and feed-forward
/// output before their residual sums. Attention probabilities are left whole.
///
/// The mask is a function of (seed, sequence key, place, position, column) and of nothing else: neither the shard that
/// a sequence is in nor the order of computation changes a bit, and the backward pass makes it again instead of
/// keeping it.
public struct DropoutMask: Sendable, Equatable {
  /// Share of the values set to zero, 0..<1; the others are scaled by 1/(1 − rate).
  public let rate: Float
  /// Differs from step to step.
  public let seed: UInt64
  /// One per sequence of the batch, such as the example's index in its data set.
  public let sequenceKeys: [UInt64]

  public init(rate: Float, seed: UInt64, sequenceKeys: [UInt64]) {
    precondition(rate >= 0 && rate < 1, "dropout rate is in 0..<1")
    self.rate = rate
    self.seed = seed
    self.sequenceKeys = sequenceKeys
  }

  /// Where a mask is applied; places of different layers have different masks.
  enum Place {
    case embeddings
    case attentionOutput(layer: Int)
    case output(layer: Int)

    var key: UInt64 {
      switch self {
      case .embeddings: 0
      case .attentionOutput(let layer): UInt64(layer) * 2 + 1
      case .output(let layer): UInt64(layer) * 2 + 2
      }
    }
  }

  /// x = mask⊙x / (1 − rate), the same forward and backward.   x `[tokens, width]`.
  func apply(_ place: Place, batch: PackedBatch, to x: MatrixView) {
    guard rate > 0 else { return }
    precondition(sequenceKeys.count == batch.count, "one dropout key per sequence")
    // Sixteen bits decide an element, so a rate is kept to 1/65,536.
    let threshold = UInt64(Float(1 << 16) * rate)
    let scale = 1 / (1 - rate)
    for sequence in 0..<batch.count {
      let stream = Self.mix(
        seed ^ Self.mix(sequenceKeys[sequence] &+ Self.mix(place.key &+ 0x9E37_79B9_7F4A_7C15)))
      for (position, row) in batch.rows(of: sequence).enumerated() {
        let values = x.row(row)
        var counter = stream &+ UInt64(position) &* 0x9E37_79B9_7F4A_7C15
        var column = 0
        while column < x.columns {
          counter = Self.mix(counter &+ 0xD1B5_4A32_D192_ED03)
          var bits = counter
          for index in column..<min(column + 4, x.columns) {
            values[index] = bits & 0xFFFF < threshold ? 0 : values[index] * scale
            bits >>= 16
          }
          column += 4
        }
      }
    }
  }

  /// SplitMix64's finaliser (Steele, Lea and Flood, doi 10.1145/2660193.2660195).
  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}
