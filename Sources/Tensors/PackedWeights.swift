internal import CKernels

/// What packed weights hold. Products are float32 either way: a weight is widened where it is read.
public enum PackedElement: String, Sendable, CaseIterable {
  case float32
  /// The upper half of a float32, rounded to nearest, ties to even.
  case bfloat16

  public var byteCount: Int { self == .float32 ? 4 : 2 }

  /// Rounds values to what this element type can hold, in place.
  public func round(_ values: UnsafeMutablePointer<Float>, count: Int) {
    guard self == .bfloat16 else { return }
    for index in 0..<count {
      let value = values[index]
      let bits = value.bitPattern
      values[index] = Float(
        bitPattern: value.isNaN ? bits | 0x40_0000 : (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
    }
  }
}

/// Immutable weights W `[outputs, inputs]` in panels of 16 outputs: for each input, 16 values side by side.
/// One copy serves the product and its transpose. docs/decisions/0002-packed-weights.md has the figures.
// SAFETY: PackedWeights owns the panels · written in `init` alone, read-only afterwards, freed in `deinit`.
public final class PackedWeights: @unchecked Sendable {
  public let outputs: Int
  public let inputs: Int
  public let element: PackedElement
  private let panels: UnsafeMutableRawPointer

  /// What the panels take, in bytes.
  public var residentBytes: Int { Self.count(outputs, inputs) * element.byteCount }

  /// Packs W `[outputs, inputs]`, `stride` elements from row to row.
  public init(
    rowMajor: UnsafePointer<Float>, outputs: Int, inputs: Int, stride: Int,
    as element: PackedElement = .float32
  ) {
    precondition(stride >= inputs, "packed weights: stride")
    self.outputs = outputs
    self.inputs = inputs
    self.element = element
    panels = Self.allocate(outputs, inputs, element)
    Self.pack(rowMajor, stride: stride, outputs, inputs, element, into: panels)
  }

  /// Packs a parameter matrix.
  public init(_ matrix: Matrix, as element: PackedElement = .float32) {
    outputs = matrix.rows
    inputs = matrix.columns
    self.element = element
    let panels = Self.allocate(matrix.rows, matrix.columns, element)
    matrix.withView {
      Self.pack($0.base, stride: $0.stride, $0.rows, $0.columns, element, into: panels)
    }
    self.panels = panels
  }

  /// Packs W as it comes, some rows at a time, so that no second copy of it is ever in memory.
  /// - Parameter read: writes the rows of a range one after the other.
  public init(
    outputs: Int, inputs: Int, as element: PackedElement = .float32,
    read: (_ rows: Range<Int>, _ into: UnsafeMutablePointer<Float>) -> Void
  ) {
    self.outputs = outputs
    self.inputs = inputs
    self.element = element
    panels = Self.allocate(outputs, inputs, element)
    let step = Int(CK_PANEL) * 16
    let rows = UnsafeMutablePointer<Float>.allocate(capacity: min(step, outputs) * inputs)
    defer { rows.deallocate() }
    for start in stride(from: 0, to: outputs, by: step) {
      let range = start..<min(start + step, outputs)
      read(range, rows)
      Self.pack(
        rows, stride: inputs, range.count, inputs, element, into: panels + start * inputs * element.byteCount)
    }
  }

  private static func pack(
    _ rows: UnsafePointer<Float>, stride: Int, _ outputs: Int, _ inputs: Int, _ element: PackedElement,
    into panels: UnsafeMutableRawPointer
  ) {
    switch element {
    case .float32:
      ck_pack(rows, stride, outputs, inputs, panels.assumingMemoryBound(to: Float.self))
    case .bfloat16:
      ck_pack_narrow(rows, stride, outputs, inputs, panels.assumingMemoryBound(to: UInt16.self))
    }
  }

  private static func allocate(
    _ outputs: Int, _ inputs: Int, _ element: PackedElement
  ) -> UnsafeMutableRawPointer {
    precondition(outputs > 0 && inputs > 0, "packed weights: shape")
    let count = count(outputs, inputs)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: count * element.byteCount, alignment: 64)
    switch element {
    case .float32: memory.bindMemory(to: Float.self, capacity: count)
    case .bfloat16: memory.bindMemory(to: UInt16.self, capacity: count)
    }
    return memory
  }

  deinit { panels.deallocate() }

  private static func count(_ outputs: Int, _ inputs: Int) -> Int {
    (outputs + Int(CK_PANEL) - 1) / Int(CK_PANEL) * Int(CK_PANEL) * inputs
  }

  /// One row of W as float32.   row `[inputs]`.
  public func copyRow(_ output: Int, into row: UnsafeMutablePointer<Float>) {
    precondition(output >= 0 && output < outputs, "packed weights: row out of range")
    let panel = Int(CK_PANEL)
    let start = output / panel * panel * inputs + output % panel
    switch element {
    case .float32:
      let values = panels.assumingMemoryBound(to: Float.self) + start
      for index in 0..<inputs { row[index] = values[index * panel] }
    case .bfloat16:
      let values = panels.assumingMemoryBound(to: UInt16.self) + start
      for index in 0..<inputs { row[index] = Float(bitPattern: UInt32(values[index * panel]) << 16) }
    }
    withExtendedLifetime(self) {}
  }

  /// Y = X·Wᵀ (+ bias) (+ Z·Bᵀ), or Y += the same.   x `[rows, inputs]`, y `[rows, outputs]`,
  /// z `[rows, r]`, B packed `[outputs, ≥ r]` in float32: its first r columns are used. Each value is one chain of
  /// multiply-adds over the inputs and then over r in ascending order, so a row's bits do not depend on
  /// the rows beside it, nor on who of `crew` computed it. Y must not overlap an input.
  public func multiply(
    _ x: MatrixView, bias: UnsafePointer<Float>?, extra: (z: MatrixView, columns: PackedWeights)?,
    accumulate: Bool, crew: Crew? = nil, into y: MatrixView
  ) {
    precondition(
      x.columns == inputs && y.columns == outputs && x.rows == y.rows, "packed product: shapes")
    var call = ck_linear(
      x: x.base, xStride: x.stride, panels: panels, rows: x.rows, inputs: inputs, outputs: outputs,
      bias: bias, z: nil, zStride: 0, extraPanels: nil, extra: 0, extraInputs: 0, y: y.base,
      yStride: y.stride, accumulate: accumulate ? 1 : 0, narrow: element == .bfloat16 ? 1 : 0)
    if let (z, columns) = extra {
      precondition(
        z.rows == x.rows && columns.outputs == outputs && z.columns <= columns.inputs
          && columns.element == .float32,
        "packed product: shared columns")
      call.z = UnsafePointer(z.base)
      call.zStride = z.stride
      call.extraPanels = UnsafePointer(columns.panels.assumingMemoryBound(to: Float.self))
      call.extra = z.columns
      call.extraInputs = columns.inputs
    }
    if let crew {
      crew.run(call, panelBytes: inputs * Int(CK_PANEL) * element.byteCount)
    } else {
      Kernels.table.linear(&call)
    }
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
      columns: dX.columns, dX: dX.base, dXStride: dX.stride, accumulate: accumulate ? 1 : 0,
      narrow: element == .bfloat16 ? 1 : 0)
    Kernels.table.linear_backward(&call)
    withExtendedLifetime(self) {}
  }
}
