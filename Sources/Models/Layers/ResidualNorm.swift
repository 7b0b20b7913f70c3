internal import Tensors

/// The norm after a residual sum.
///
///     s = x + f,  y = (s − mean(s))·rstd(s)⊙gain + bias          forward;  all [T, D]
///     ds = ∂y/∂s·dy,  dx = ds,  df = ds                           backward; gain and bias are frozen
struct ResidualNorm: Sendable {
  let gain: FrozenVector
  let bias: FrozenVector
  let epsilon: Float

  /// What backward needs: the sum s, and its statistics `[T]`.
  struct Tape {
    let sum: MatrixView
    let mean: UnsafeMutablePointer<Float>
    let inverseDeviation: UnsafeMutablePointer<Float>

    init(rows: Int, columns: Int, arena: Arena) {
      sum = arena.matrix(rows, columns)
      mean = arena.floats(rows)
      inverseDeviation = arena.floats(rows)
    }
  }

  init(_ name: String, epsilon: Float, _ weights: WeightMap) throws(ModelError) {
    gain = FrozenVector(try weights.floats(name + ".weight"))
    bias = FrozenVector(try weights.floats(name + ".bias"))
    self.epsilon = epsilon
  }

  var residentBytes: Int { (gain.count + bias.count) * MemoryLayout<Float>.stride }

  /// y = norm(s); y may be s.
  func normalise(_ s: MatrixView, into y: MatrixView) {
    Elementwise.layerNorm(s, gain: gain.base, bias: bias.base, epsilon: epsilon, into: y)
  }

  /// y = norm(x + f). `f` is overwritten by the sum; y may be x.
  func forward(_ x: MatrixView, _ f: MatrixView, into y: MatrixView) {
    Elementwise.add(x, f, into: f)
    normalise(f, into: y)
  }

  /// y = norm(x + f), keeping what backward needs.
  func forward(_ x: MatrixView, _ f: MatrixView, tape: Tape, into y: MatrixView) {
    Elementwise.add(x, f, into: tape.sum)
    Elementwise.layerNorm(
      tape.sum, gain: gain.base, bias: bias.base, epsilon: epsilon, into: y, mean: tape.mean,
      inverseDeviation: tape.inverseDeviation)
  }

  /// dS overwritten; it is dx and df at once.
  func backward(_ dY: MatrixView, tape: Tape, into dS: MatrixView) {
    Elementwise.layerNormBackward(
      dY, input: tape.sum, gain: gain.base, mean: tape.mean, inverseDeviation: tape.inverseDeviation,
      into: dS)
  }
}
