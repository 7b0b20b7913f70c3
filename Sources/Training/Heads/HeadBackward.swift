internal import Adapters
internal import Tensors

/// Where a head's gradients are accumulated; views into a shard's gradient buffer.
struct HeadGradients {
  struct Layer {
    let weight: MatrixView
    let bias: UnsafeMutablePointer<Float>
  }

  let dense: Layer?
  let linear: Layer?
}

/// The backward pass of `HeadForward.run`.
enum HeadBackward {
  /// dHidden is overwritten, every row; the layers' gradients are accumulated.
  ///
  /// - Parameters:
  ///   - dOutputs: `[sequences, outputs]`.
  ///   - dHidden: `[tokens, width]`; rows of no sequence become zero.
  static func run(
    _ head: HeadViews, _ tape: HeadTape, dOutputs: MatrixView, starts: [Int], gradients: HeadGradients,
    arena: Arena, into dHidden: MatrixView
  ) {
    var dFeatures = dOutputs
    if let linear = head.linear, let target = gradients.linear {
      dFeatures = step(linear, input: tape.features, dOutput: dOutputs, target, arena)
    }
    var dPooled = dFeatures
    if let dense = head.dense, let target = gradients.dense, let before = tape.preactivation {
      var dBefore = dFeatures
      if let activation = head.activation {
        dBefore = arena.matrix(before.rows, before.columns)
        let saved = activation == .tanh ? tape.features : before
        Elementwise.activateBackward(activation.kernel, dFeatures, saved: saved, into: dBefore)
      }
      dPooled = step(dense, input: tape.pooled, dOutput: dBefore, target, arena)
    }
    unpool(dPooled, starts: starts, head.pooling, into: dHidden)
  }

  /// dW += dYᵀ·X, dbias += Σ dY; returns dX = dY·W.
  private static func step(
    _ layer: HeadViews.Layer, input: MatrixView, dOutput: MatrixView, _ target: HeadGradients.Layer,
    _ arena: Arena
  ) -> MatrixView {
    Products.tn(dOutput, input, accumulate: true, into: target.weight)
    Elementwise.columnSums(dOutput, accumulate: true, into: target.bias)
    let dInput = arena.matrix(input.rows, input.columns)
    Products.nn(dOutput, layer.weight, into: dInput)
    return dInput
  }

  private static func unpool(
    _ dPooled: MatrixView, starts: [Int], _ pooling: Pooling, into dHidden: MatrixView
  ) {
    dHidden.fill(0)
    for sequence in 0..<dPooled.rows {
      let tokens = starts[sequence]..<starts[sequence + 1]
      guard !tokens.isEmpty else { continue }
      let source = dPooled.rows(sequence..<sequence + 1)
      switch pooling {
      case .cls: dHidden.rows(tokens.lowerBound..<tokens.lowerBound + 1).copy(from: source)
      case .last: dHidden.rows(tokens.upperBound - 1..<tokens.upperBound).copy(from: source)
      case .mean:
        let share = 1 / Float(tokens.count)
        for token in tokens {
          Elementwise.accumulate(source, scale: share, into: dHidden.rows(token..<token + 1))
        }
      }
    }
  }
}
