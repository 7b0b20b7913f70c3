internal import CKernels

/// Kernels that touch each value once. Unless it is said otherwise the output may be one of the inputs,
/// and every view of a call has the same shape.
public enum Elementwise {
  /// An activation's forward and backward.
  public enum Activation: Sendable {
    /// x·Φ(x), Φ the normal distribution function.
    case gelu
    /// x·½(1 + tanh(√(2/π)(x + 0.044715x³))).
    case geluTanh
    case tanh
    case relu

    fileprivate var kind: Int32 {
      switch self {
      case .gelu: Int32(CK_GELU)
      case .geluTanh: Int32(CK_GELU_TANH)
      case .tanh: Int32(CK_TANH)
      case .relu: Int32(CK_RELU)
      }
    }
  }

  /// y = f(x).
  public static func activate(_ f: Activation, _ x: MatrixView, into y: MatrixView) {
    same(x, y)
    let run = Kernels.table.activate
    for row in 0..<x.rows { run(f.kind, x.row(row), y.row(row), x.columns) }
  }

  /// dX = dY·f′.   `saved` is the input x for `.gelu`, `.geluTanh` and `.relu` (for `.relu` the output does
  /// as well), the output y for `.tanh`.
  public static func activateBackward(
    _ f: Activation, _ dY: MatrixView, saved: MatrixView, into dX: MatrixView
  ) {
    same(dY, saved)
    same(dY, dX)
    let run = Kernels.table.activate_backward
    for row in 0..<dY.rows { run(f.kind, dY.row(row), saved.row(row), dX.row(row), dY.columns) }
  }

  /// y = softmax(scale·x) of each row.
  public static func softmax(_ x: MatrixView, scale: Float = 1, into y: MatrixView) {
    same(x, y)
    guard x.columns > 0 else { return }
    let run = Kernels.table.softmax
    for row in 0..<x.rows { run(x.row(row), scale, y.row(row), x.columns) }
  }

  /// dX = scale·y⊙(dY − Σ dY⊙y) of each row; `output` is y, `scale` the forward's.
  public static func softmaxBackward(
    _ dY: MatrixView, output: MatrixView, scale: Float = 1, into dX: MatrixView
  ) {
    same(dY, output)
    same(dY, dX)
    let run = Kernels.table.softmax_backward
    for row in 0..<dY.rows { run(dY.row(row), output.row(row), scale, dX.row(row), dY.columns) }
  }

  /// y = x + z.
  public static func add(_ x: MatrixView, _ z: MatrixView, into y: MatrixView) {
    same(x, z)
    same(x, y)
    let run = Kernels.table.add
    for row in 0..<x.rows { run(x.row(row), z.row(row), y.row(row), x.columns) }
  }

  /// y += scale·x.
  public static func accumulate(_ x: MatrixView, scale: Float = 1, into y: MatrixView) {
    same(x, y)
    let run = Kernels.table.axpby
    for row in 0..<x.rows { run(scale, x.row(row), 1, y.row(row), x.columns) }
  }

  /// y = scale·y.
  public static func scale(_ y: MatrixView, by scale: Float) {
    let run = Kernels.table.axpby
    for row in 0..<y.rows { run(0, y.row(row), scale, y.row(row), y.columns) }
  }

  /// y = x⊙z.
  public static func multiply(_ x: MatrixView, _ z: MatrixView, into y: MatrixView) {
    same(x, z)
    same(x, y)
    let run = Kernels.table.multiply
    for row in 0..<x.rows { run(x.row(row), z.row(row), y.row(row), x.columns) }
  }

  /// Adds one row `[columns]` to every row of y.
  public static func addRow(_ row: UnsafePointer<Float>, to y: MatrixView) {
    let run = Kernels.table.add
    for index in 0..<y.rows { run(y.row(index), row, y.row(index), y.columns) }
  }

  /// sums = Σ of the rows or sums += it: a bias gradient.   x `[rows, columns]`, sums `[columns]`.
  public static func columnSums(
    _ x: MatrixView, accumulate: Bool, into sums: UnsafeMutablePointer<Float>
  ) {
    if !accumulate { sums.update(repeating: 0, count: x.columns) }
    let run = Kernels.table.add
    for index in 0..<x.rows { run(x.row(index), sums, sums, x.columns) }
  }

  /// Σ x⊙z, summed in double.
  public static func dot(_ x: MatrixView, _ z: MatrixView) -> Double {
    same(x, z)
    let run = Kernels.table.dot
    var sum = 0.0
    for row in 0..<x.rows { sum += run(x.row(row), z.row(row), x.columns) }
    return sum
  }

  /// Σ x², summed in double.
  public static func sumOfSquares(_ x: MatrixView) -> Double { dot(x, x) }

  /// Σ x² of a buffer, summed in double.
  public static func sumOfSquares(_ x: UnsafeBufferPointer<Float>) -> Double {
    guard let base = x.baseAddress else { return 0 }
    return Kernels.table.dot(base, base, x.count)
  }

  static func same(_ a: MatrixView, _ b: MatrixView) {
    precondition(a.rows == b.rows && a.columns == b.columns, "elementwise: shapes differ")
  }
}

extension Elementwise {
  /// y = (x − mean)/√(variance + ε)·gain + bias of each row.   gain, bias `[columns]`. `mean` and
  /// `inverseDeviation` `[rows]` receive what the backward pass needs.
  public static func layerNorm(
    _ x: MatrixView, gain: UnsafePointer<Float>, bias: UnsafePointer<Float>, epsilon: Float,
    into y: MatrixView, mean: UnsafeMutablePointer<Float>? = nil,
    inverseDeviation: UnsafeMutablePointer<Float>? = nil
  ) {
    same(x, y)
    let run = Kernels.table.layer_norm
    for row in 0..<x.rows {
      var average: Float = 0
      var inverse: Float = 0
      run(x.row(row), gain, bias, epsilon, y.row(row), x.columns, &average, &inverse)
      mean?[row] = average
      inverseDeviation?[row] = inverse
    }
  }

  /// dX = the gradient at x or dX += it; gain and bias are frozen.   `input` is the forward's x.
  public static func layerNormBackward(
    _ dY: MatrixView, input: MatrixView, gain: UnsafePointer<Float>, mean: UnsafePointer<Float>,
    inverseDeviation: UnsafePointer<Float>, accumulate: Bool = false, into dX: MatrixView
  ) {
    same(dY, input)
    same(dY, dX)
    let run = Kernels.table.layer_norm_backward
    for row in 0..<dY.rows {
      run(
        dY.row(row), input.row(row), gain, mean[row], inverseDeviation[row], accumulate ? 1 : 0,
        dX.row(row), dY.columns)
    }
  }
}

extension Elementwise {
  /// y = x/√(mean(x²) + ε)·gain of each row.   gain `[columns]`. `inverse` `[rows]` receives 1/√… for the
  /// backward pass.
  public static func rmsNorm(
    _ x: MatrixView, gain: UnsafePointer<Float>, epsilon: Float, into y: MatrixView,
    inverse: UnsafeMutablePointer<Float>? = nil
  ) {
    same(x, y)
    let run = Kernels.table.rms_norm
    for row in 0..<x.rows {
      var scale: Float = 0
      run(x.row(row), gain, epsilon, y.row(row), x.columns, &scale)
      inverse?[row] = scale
    }
  }

  /// dX = the gradient at x or dX += it; the gain is frozen.   `input` is the forward's x.
  public static func rmsNormBackward(
    _ dY: MatrixView, input: MatrixView, gain: UnsafePointer<Float>, inverse: UnsafePointer<Float>,
    accumulate: Bool = false, into dX: MatrixView
  ) {
    same(dY, input)
    same(dY, dX)
    let run = Kernels.table.rms_norm_backward
    for row in 0..<dY.rows {
      run(
        dY.row(row), input.row(row), gain, inverse[row], accumulate ? 1 : 0, dX.row(row), dY.columns)
    }
  }

  /// y = gate·σ(gate)⊙up.
  public static func swiGLU(gate: MatrixView, up: MatrixView, into y: MatrixView) {
    same(gate, up)
    same(gate, y)
    let run = Kernels.table.swiglu
    for row in 0..<y.rows { run(gate.row(row), up.row(row), y.row(row), y.columns) }
  }

  /// dUp = dY⊙gate·σ,  dGate = dY⊙up⊙σ(1 + gate(1 − σ)),  σ = σ(gate).   `gate` and `up` are the forward's;
  /// each output may be any input.
  public static func swiGLUBackward(
    _ dY: MatrixView, gate: MatrixView, up: MatrixView, into dGate: MatrixView, _ dUp: MatrixView
  ) {
    same(gate, up)
    same(gate, dY)
    same(gate, dGate)
    same(gate, dUp)
    let run = Kernels.table.swiglu_backward
    for row in 0..<dY.rows {
      run(dY.row(row), gate.row(row), up.row(row), dGate.row(row), dUp.row(row), dY.columns)
    }
  }

  /// Turns every head of a row by the row's angles in place: of a head's two halves, (a, b) becomes
  /// (a·cos − b·sin, b·cos + a·sin). `inverse` applies the transpose, which is the backward pass.
  /// x `[rows, heads·2h]`, cosines and sines `[rows, h]`.
  public static func rotate(_ x: MatrixView, cosines: MatrixView, sines: MatrixView, inverse: Bool = false) {
    same(cosines, sines)
    let half = cosines.columns
    precondition(x.rows == cosines.rows && half > 0 && x.columns % (2 * half) == 0, "rotate: shapes")
    let run = Kernels.table.rotate
    for row in 0..<x.rows {
      run(x.row(row), cosines.row(row), sines.row(row), inverse ? -1 : 1, half, x.columns / (2 * half))
    }
  }
}
