public import Tensors

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// What a task answers for one text, as plain values.
public enum Prediction: Sendable, Equatable {
  /// Probabilities in the head's label order; they sum to 1.
  case classification(scores: [Float])
  /// Independent probabilities in label order, and the indices of the labels at or above their thresholds.
  case multilabel(scores: [Float], chosen: [Int])
  /// In the units of the training values.
  case regression(value: Float)
  case embedding([Float])

  /// Turns one row of a head's outputs into an answer.
  ///
  /// - Parameters:
  ///   - kind: any but generation, whose answers are no rows of a head.
  ///   - normalised: embeddings are divided by their Euclidean length (a zero vector stays).
  public init(kind: TaskKind, head: Head, outputs: UnsafeBufferPointer<Float>, normalised: Bool = true) {
    switch kind {
    case .classification: self = .classification(scores: Self.softmax(outputs))
    case .multilabel:
      let scores = outputs.map { 1 / (1 + exp(-$0)) }
      self = .multilabel(scores: scores, chosen: Self.chosen(scores, head.thresholds))
    case .regression: self = .regression(value: (outputs.first ?? 0) * head.scale + head.offset)
    case .embedding: self = .embedding(normalised ? Self.unit(outputs) : Array(outputs))
    case .generation: preconditionFailure("a writer's answer is not a row of a head")
    }
  }

  /// One answer per row of `outputs`.
  public static func all(
    kind: TaskKind, head: Head, outputs: MatrixView, normalised: Bool = true
  ) -> [Prediction] {
    (0..<outputs.rows).map { row in
      Prediction(
        kind: kind, head: head,
        outputs: UnsafeBufferPointer(start: outputs.row(row), count: outputs.columns), normalised: normalised)
    }
  }

  /// The indices at or above their thresholds (0.5 where there are none).
  public static func chosen(_ scores: [Float], _ thresholds: [Float]) -> [Int] {
    scores.indices.filter { scores[$0] >= ($0 < thresholds.count ? thresholds[$0] : 0.5) }
  }

  /// Softmax, summed in Double from the largest output's distance.
  public static func softmax(_ outputs: UnsafeBufferPointer<Float>) -> [Float] {
    let top = outputs.max() ?? 0
    let powers = outputs.map { exp(Double($0 - top)) }
    let sum = powers.reduce(0, +)
    return powers.map { Float($0 / sum) }
  }

  private static func unit(_ outputs: UnsafeBufferPointer<Float>) -> [Float] {
    let length = Elementwise.sumOfSquares(outputs).squareRoot()
    return length > 0 ? outputs.map { Float(Double($0) / length) } : Array(outputs)
  }
}
