public import Tensors

/// A head's layers where they stand in memory. Whoever owns the memory keeps it alive.
public struct HeadViews {
  /// W `[outputs, inputs]` and its bias.
  public struct Layer {
    public let weight: MatrixView
    public let bias: UnsafePointer<Float>

    public init(weight: MatrixView, bias: UnsafePointer<Float>) {
      self.weight = weight
      self.bias = bias
    }
  }

  public let pooling: Pooling
  public let dense: Layer?
  public let activation: HeadActivation?
  public let linear: Layer?

  public init(pooling: Pooling, dense: Layer?, activation: HeadActivation?, linear: Layer?) {
    self.pooling = pooling
    self.dense = dense
    self.activation = activation
    self.linear = linear
  }
}

/// What a head's forward pass leaves for its backward pass; views are valid until the arena's scope ends.
public struct HeadTape {
  /// `[sequences, width]`.
  public let pooled: MatrixView
  /// The dense layer's output before the activation; nil without a dense layer.
  public let preactivation: MatrixView?
  /// What the linear layer reads: `pooled` itself without a dense layer.
  public let features: MatrixView
  /// `[sequences, outputs]`; `features` itself without a linear layer.
  public let outputs: MatrixView
}

/// The head's arithmetic: pooled rows, dense layer, linear layer.
public enum HeadForward {
  /// Runs a head over whole sequences of a packed batch.
  ///
  /// - Parameters:
  ///   - hidden: `[tokens, width]`.
  ///   - starts: count + 1 offsets of the batch's sequences in `hidden`.
  ///   - sequences: which of them; a row of the result each.
  public static func run(
    _ head: HeadViews, hidden: MatrixView, starts: [Int], sequences: Range<Int>, arena: Arena
  ) -> HeadTape {
    let pooled = arena.matrix(sequences.count, hidden.columns)
    pool(hidden, starts: starts, sequences: sequences, head.pooling, into: pooled)
    var features = pooled
    var preactivation: MatrixView?
    if let dense = head.dense {
      let before = apply(dense, pooled, arena)
      preactivation = before
      features = before
      if let activation = head.activation {
        features = arena.matrix(before.rows, before.columns)
        Elementwise.activate(activation.kernel, before, into: features)
      }
    }
    let outputs = head.linear.map { apply($0, features, arena) } ?? features
    return HeadTape(pooled: pooled, preactivation: preactivation, features: features, outputs: outputs)
  }

  /// One row per sequence. `pooled` is overwritten; a mean is summed in token order, so its bits do not depend on
  /// the neighbours.
  public static func pool(
    _ hidden: MatrixView, starts: [Int], sequences: Range<Int>, _ pooling: Pooling, into pooled: MatrixView
  ) {
    for (row, sequence) in sequences.enumerated() {
      let tokens = starts[sequence]..<starts[sequence + 1]
      guard !tokens.isEmpty else { continue }
      let target = pooled.rows(row..<row + 1)
      switch pooling {
      case .cls: target.copy(from: hidden.rows(tokens.lowerBound..<tokens.lowerBound + 1))
      case .last: target.copy(from: hidden.rows(tokens.upperBound - 1..<tokens.upperBound))
      case .mean:
        Elementwise.columnSums(hidden.rows(tokens), accumulate: false, into: target.base)
        Elementwise.scale(target, by: 1 / Float(tokens.count))
      }
    }
  }

  private static func apply(_ layer: HeadViews.Layer, _ x: MatrixView, _ arena: Arena) -> MatrixView {
    let y = arena.matrix(x.rows, layer.weight.rows)
    Products.nt(x, layer.weight, into: y)
    Elementwise.addRow(layer.bias, to: y)
    return y
  }
}

extension HeadActivation {
  /// The kernel of the same function.
  public var kernel: Elementwise.Activation {
    switch self {
    case .tanh: .tanh
    case .relu: .relu
    case .gelu: .gelu
    }
  }
}
