internal import CKernels

/// Immutable weights W `[outputs, inputs]` in panels of 16 outputs: for each input, 16 floats side by side.
/// One copy serves the product and its transpose. docs/decisions/0002-packed-weights.md has the figures.
// SAFETY: PackedWeights owns the panels · written in `init` alone, read-only afterwards, freed in `deinit`.
public final class PackedWeights: @unchecked Sendable {
  public let outputs: Int
  public let inputs: Int
  private let panels: UnsafeMutablePointer<Float>

  /// What the panels take, in bytes.
  public var residentBytes: Int { Self.count(outputs, inputs) * MemoryLayout<Float>.stride }

  /// Packs W `[outputs, inputs]`, `stride` elements from row to row.
  public init(rowMajor: UnsafePointer<Float>, outputs: Int, inputs: Int, stride: Int) {
    precondition(stride >= inputs, "packed weights: stride")
    self.outputs = outputs
    self.inputs = inputs
    panels = Self.allocate(outputs, inputs)
    ck_pack(rowMajor, stride, outputs, inputs, panels)
  }

  /// Packs a parameter matrix.
  public init(_ matrix: Matrix) {
    outputs = matrix.rows
    inputs = matrix.columns
    let panels = Self.allocate(matrix.rows, matrix.columns)
    matrix.withView { ck_pack($0.base, $0.stride, $0.rows, $0.columns, panels) }
    self.panels = panels
  }

  private static func allocate(_ outputs: Int, _ inputs: Int) -> UnsafeMutablePointer<Float> {
    precondition(outputs > 0 && inputs > 0, "packed weights: shape")
    let count = count(outputs, inputs)
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<Float>.stride, alignment: 64)
    return memory.bindMemory(to: Float.self, capacity: count)
  }

  deinit { panels.deallocate() }

  private static func count(_ outputs: Int, _ inputs: Int) -> Int {
    (outputs + Int(CK_PANEL) - 1) / Int(CK_PANEL) * Int(CK_PANEL) * inputs
  }

  /// Y = X·Wᵀ (+ bias) (+ Z·Bᵀ), or Y += the same.   x `[rows, inputs]`, y `[rows, outputs]`,
  /// z `[rows, r]`, B packed `[outputs, ≥ r]`: its first r columns are used. Each value is one chain of
  /// multiply-adds over the inputs and then over r in ascending order, so a row's bits do not depend on
  /// the rows beside it. Y must not overlap an input.
  public func multiply(
    _ x: MatrixView, bias: UnsafePointer<Float>?, extra: (z: MatrixView, columns: PackedWeights)?,
    accumulate: Bool, into y: MatrixView
  ) {
    precondition(
      x.columns == inputs && y.columns == outputs && x.rows == y.rows, "packed product: shapes")
    var call = ck_linear(
      x: x.base, xStride: x.stride, panels: panels, rows: x.rows, inputs: inputs, outputs: outputs,
      bias: bias, z: nil, zStride: 0, extraPanels: nil, extra: 0, extraInputs: 0, y: y.base,
      yStride: y.stride, accumulate: accumulate ? 1 : 0)
    if let (z, columns) = extra {
      precondition(
        z.rows == x.rows && columns.outputs == outputs && z.columns <= columns.inputs,
        "packed product: shared columns")
      call.z = UnsafePointer(z.base)
      call.zStride = z.stride
      call.extraPanels = UnsafePointer(columns.panels)
      call.extra = z.columns
      call.extraInputs = columns.inputs
    }
    Kernels.table.linear(&call)
    // `extra` is read through bare pointers above.
    withExtendedLifetime((self, extra?.columns)) {}
  }

  /// dX = dY·W or dX += dY·W, for the first `dX.columns` inputs.   dY `[rows, outputs]`. The same fixed
  /// order, over the outputs.
  public func multiplyTransposed(_ dY: MatrixView, accumulate: Bool, into dX: MatrixView) {
    precondition(
      dY.columns == outputs && dX.columns <= inputs && dX.rows == dY.rows,
      "packed transposed product: shapes")
    var call = ck_linear_backward(
      dY: dY.base, dYStride: dY.stride, panels: panels, rows: dY.rows, inputs: inputs, outputs: outputs,
      columns: dX.columns, dX: dX.base, dXStride: dX.stride, accumulate: accumulate ? 1 : 0)
    Kernels.table.linear_backward(&call)
    withExtendedLifetime(self) {}
  }
}
