public import Tensors

/// A dense layer as data: `y = W·x + bias`.
public struct DenseLayer: Sendable, Equatable {
  /// W, `[outputs, inputs]`.
  public let weight: Matrix
  /// One value per output.
  public let bias: [Float]

  public init(weight: Matrix, bias: [Float]) {
    self.weight = weight
    self.bias = bias
  }
}

/// A task's head: pooling, an optional dense layer with activation, an optional linear layer over the outputs.
///
/// An embedding task has no linear layer: its output is the pooled (and dense) vector. A writer has no layer at all: the
/// base's own output head answers.
public struct Head: Sendable, Equatable {
  public let pooling: Pooling
  /// `[width', width]`, applied to the pooled vector.
  public let dense: DenseLayer?
  /// Applied after `dense`; nil is the identity.
  public let activation: HeadActivation?
  /// `[outputs, width']`; one output per label, one for regression.
  public let linear: DenseLayer?
  /// Labels in output order; empty for regression and embedding. Compared by bytes.
  public let labels: [String]
  /// Multilabel: the least score at which a label is given, one per label; else empty.
  public let thresholds: [Float]
  /// Regression: `value = output · scale + offset`.
  public let offset: Float
  /// Regression: the standard deviation of the training values.
  public let scale: Float

  public init(
    pooling: Pooling, dense: DenseLayer? = nil, activation: HeadActivation? = nil, linear: DenseLayer? = nil,
    labels: [String] = [], thresholds: [Float] = [], offset: Float = 0, scale: Float = 1
  ) {
    self.pooling = pooling
    self.dense = dense
    self.activation = activation
    self.linear = linear
    self.labels = labels
    self.thresholds = thresholds
    self.offset = offset
    self.scale = scale
  }

  /// The bare base as an embedding: mean over the tokens.
  public static let mean = Head(pooling: .mean)

  public static func == (a: Head, b: Head) -> Bool {
    a.pooling == b.pooling && a.dense == b.dense && a.activation == b.activation && a.linear == b.linear
      && a.thresholds == b.thresholds && a.offset == b.offset && a.scale == b.scale
      && sameLabels(a.labels, b.labels)
  }

  /// True when both lists hold the same bytes in the same order. `String ==` would accept canonical equivalents.
  public static func sameLabels(_ a: [String], _ b: [String]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
  }
}
