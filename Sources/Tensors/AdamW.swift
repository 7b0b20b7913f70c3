internal import CKernels

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101); ε is added after the root,
/// as in Kingma and Ba's algorithm 1 and in PyTorch.
public struct AdamW: Sendable, Equatable {
  public var learningRate: Float
  public var beta1: Float
  public var beta2: Float
  public var epsilon: Float
  public var weightDecay: Float

  public init(
    learningRate: Float, beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float = 1e-8,
    weightDecay: Float = 0
  ) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }

  /// Step `step` (from 1) on one tensor; all four buffers have the same length, none overlaps another.
  /// `first` and `second` are the moments, zero before step 1.
  public func update(
    _ values: UnsafeMutableBufferPointer<Float>, gradients: UnsafeBufferPointer<Float>,
    first: UnsafeMutableBufferPointer<Float>, second: UnsafeMutableBufferPointer<Float>, step: Int
  ) {
    let count = values.count
    precondition(
      step > 0 && gradients.count == count && first.count == count && second.count == count,
      "AdamW: step or lengths")
    guard let value = values.baseAddress, let gradient = gradients.baseAddress,
      let m = first.baseAddress, let v = second.baseAddress
    else { return }
    var settings = ck_adamw(
      beta1: beta1, beta2: beta2, epsilon: epsilon, decay: 1 - learningRate * weightDecay,
      stepSize: Float(Double(learningRate) / (1 - Self.power(Double(beta1), step))),
      rootCorrection: Float((1 - Self.power(Double(beta2), step)).squareRoot()))
    Kernels.table.adamw(&settings, gradient, value, m, v, count)
  }

  /// base^exponent by repeated squaring.
  private static func power(_ base: Double, _ exponent: Int) -> Double {
    var (result, square, left) = (1.0, base, exponent)
    while left > 0 {
      if left & 1 == 1 { result *= square }
      square *= square
      left >>= 1
    }
    return result
  }
}
