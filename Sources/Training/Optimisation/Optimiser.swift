internal import Tensors

/// AdamW with global-norm clipping over one flat buffer of parameters, a rate per group.
struct Optimiser {
  var values: [Float]
  var first: [Float]
  var second: [Float]

  init(values: [Float]) {
    self.values = values
    first = Array(repeating: 0, count: values.count)
    second = first
  }

  /// Norm of the gradient over all parameters.
  static func norm(_ gradients: [Float]) -> Double {
    gradients.withUnsafeBufferPointer { Elementwise.sumOfSquares($0) }.squareRoot()
  }

  /// One step, counted from 1. `gradients` is scaled in place when its norm is above `clip` (0: never).
  mutating func step(
    _ gradients: inout [Float], norm: Double, clip: Float, layout: ParameterLayout, step: Int,
    rate: (ParameterGroup) -> Float, weightDecay: Float
  ) {
    if clip > 0, norm > Double(clip) {
      let factor = Float(Double(clip) / norm)
      for index in gradients.indices { gradients[index] *= factor }
    }
    for tensor in layout.tensors {
      let adam = AdamW(learningRate: rate(tensor.group), weightDecay: tensor.decays ? weightDecay : 0)
      let range = tensor.range
      gradients.withUnsafeBufferPointer { gradients in
        values.withUnsafeMutableBufferPointer { values in
          first.withUnsafeMutableBufferPointer { first in
            second.withUnsafeMutableBufferPointer { second in
              adam.update(
                .init(rebasing: values[range]), gradients: .init(rebasing: gradients[range]),
                first: .init(rebasing: first[range]), second: .init(rebasing: second[range]), step: step)
            }
          }
        }
      }
    }
  }
}
