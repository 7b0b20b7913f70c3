internal import Tensors

/// The norm before a function.
///
///     y = x·r⊙gain,  r = 1/√(mean(x²) + ε)                  forward;  x, y [T, D], r [T]
///     dx (+)= ∂y/∂x·dy                                       backward; the gain is frozen
struct RMSNorm: Sendable {
  private let gain: FrozenVector
  private let epsilon: Float

  init(_ name: String, epsilon: Float, _ weights: WeightMap) throws(ModelError) {
    gain = FrozenVector(try weights.floats(name))
    self.epsilon = epsilon
  }

  var residentBytes: Int { gain.count * MemoryLayout<Float>.stride }

  /// Overwrites y, which may be x. `inverse` receives r where backward needs it.
  func forward(_ x: MatrixView, into y: MatrixView, inverse: UnsafeMutablePointer<Float>? = nil) {
    Elementwise.rmsNorm(x, gain: gain.base, epsilon: epsilon, into: y, inverse: inverse)
  }

  /// Overwrites dX or adds to it; dX may be dY.
  func backward(
    _ dY: MatrixView, input x: MatrixView, inverse: UnsafePointer<Float>, accumulate: Bool,
    into dX: MatrixView
  ) {
    Elementwise.rmsNormBackward(
      dY, input: x, gain: gain.base, inverse: inverse, accumulate: accumulate, into: dX)
  }

  /// A matrix of heads side by side as one of a row per head: `[T, heads·d]` as `[T·heads, d]`.
  static func heads(_ x: MatrixView, size: Int) -> MatrixView {
    precondition(x.stride == x.columns && x.columns % size == 0, "heads lie side by side without gaps")
    return MatrixView(base: x.base, rows: x.rows * (x.columns / size), columns: size, stride: size)
  }
}
