internal import CKernels

enum BFloat16 {
  /// The nearest bfloat16, ties to even; what is not a number stays so.
  @inline(__always) static func bits(of value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16((value.isNaN ? bits | 0x40_0000 : bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
  }
}

/// What packed weights hold. Sums are float32 whatever it is. docs/decisions/0012-quantised-weights.md has the figures.
public enum PackedElement: String, Sendable, CaseIterable {
  case float32
  /// The upper half of a float32, rounded to nearest, ties to even. A weight is widened where it is read.
  case bfloat16
  /// The same weights; what they are multiplied with forwards is rounded too, which is twice the speed on processors
  /// with products of bfloat16 pairs. docs/decisions/0014-bfloat16-pairs.md has the figures.
  case bfloat16Pairs
  /// Whole numbers -127...127 and a bfloat16 scale for each 32 inputs of an output: 8.5 bits a weight.
  case int8
  /// The same with 16 levels, spaced for normally distributed weights: 4.5 bits a weight.
  case int4

  /// Products round X as well: to 8 bits, row by row in groups of 32 inputs.
  public var isQuantised: Bool { self == .int8 || self == .int4 }

  /// Bytes that packed W `[outputs, inputs]` takes.
  public func byteCount(outputs: Int, inputs: Int) -> Int {
    Self.panels(outputs) * (ck_panel_bytes(inputs, kernelFormat) + ck_scale_bytes(inputs, kernelFormat))
  }

  /// Rounds values to what this element type can hold, in place. Quantised weights are rounded as they are packed, and
  /// what is not packed stays as it is.
  public func round(_ values: UnsafeMutablePointer<Float>, count: Int) {
    guard self == .bfloat16 || self == .bfloat16Pairs else { return }
    for index in 0..<count {
      values[index] = Float(bitPattern: UInt32(BFloat16.bits(of: values[index])) << 16)
    }
  }

  /// What keys and values are held as beside such weights: no finer than what they are multiplied with.
  public var keyValues: KeyValueElement {
    switch self {
    case .float32, .bfloat16: .float32
    case .bfloat16Pairs, .int8, .int4: .bfloat16
    }
  }

  fileprivate var kernelFormat: Int32 {
    switch self {
    case .float32: Int32(CK_FLOAT32)
    case .bfloat16, .bfloat16Pairs: Int32(CK_BFLOAT16)
    case .int8: Int32(CK_INT8)
    case .int4: Int32(CK_INT4)
    }
  }

  fileprivate static func panels(_ outputs: Int) -> Int { (outputs + Int(CK_PANEL) - 1) / Int(CK_PANEL) }
}

/// Immutable weights W `[outputs, inputs]` in panels of 16 outputs. One copy serves the product and its transpose.
/// docs/decisions/0002-packed-weights.md has the figures.
// SAFETY: PackedWeights owns the panels · written in `init` alone, read-only afterwards, freed in `deinit`.
public final class PackedWeights: @unchecked Sendable {
  public let outputs: Int
  public let inputs: Int
  public let element: PackedElement
  private let panels: UnsafeMutableRawPointer
  /// Behind the panels, of quantised weights.
  private let scales: UnsafeMutablePointer<UInt16>?

  /// What the panels take, their scales included, in bytes.
  public var residentBytes: Int { element.byteCount(outputs: outputs, inputs: inputs) }

  /// Packs W `[outputs, inputs]`, `stride` elements from row to row.
  public convenience init(
    rowMajor: UnsafePointer<Float>, outputs: Int, inputs: Int, stride: Int,
    as element: PackedElement = .float32
  ) {
    precondition(stride >= inputs, "packed weights: stride")
    self.init(outputs, inputs, element)
    pack(rowMajor, stride: stride, rows: 0..<outputs)
  }

  /// Packs a parameter matrix.
  public convenience init(_ matrix: Matrix, as element: PackedElement = .float32) {
    self.init(matrix.rows, matrix.columns, element)
    matrix.withView { pack($0.base, stride: $0.stride, rows: 0..<matrix.rows) }
  }

  /// Packs W as it comes, some rows at a time, so that no second copy of it is ever in memory.
  /// - Parameter read: writes the rows of a range one after the other.
  public convenience init(
    outputs: Int, inputs: Int, as element: PackedElement = .float32,
    read: (_ rows: Range<Int>, _ into: UnsafeMutablePointer<Float>) -> Void
  ) {
    self.init(outputs, inputs, element)
    let step = Int(CK_PANEL) * 16
    let rows = UnsafeMutablePointer<Float>.allocate(capacity: min(step, outputs) * inputs)
    defer { rows.deallocate() }
    for start in stride(from: 0, to: outputs, by: step) {
      let range = start..<min(start + step, outputs)
      read(range, rows)
      pack(rows, stride: inputs, rows: range)
    }
  }

  /// Memory for the panels, to be filled by `pack`.
  private init(_ outputs: Int, _ inputs: Int, _ element: PackedElement) {
    precondition(outputs > 0 && inputs > 0, "packed weights: shape")
    self.outputs = outputs
    self.inputs = inputs
    self.element = element
    let panelBytes = PackedElement.panels(outputs) * ck_panel_bytes(inputs, element.kernelFormat)
    let bytes = element.byteCount(outputs: outputs, inputs: inputs)
    panels = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    scales =
      element.isQuantised
      ? (panels + panelBytes).bindMemory(to: UInt16.self, capacity: (bytes - panelBytes) / 2) : nil
    switch element {
    case .float32: panels.bindMemory(to: Float.self, capacity: panelBytes / 4)
    case .bfloat16, .bfloat16Pairs: panels.bindMemory(to: UInt16.self, capacity: panelBytes / 2)
    case .int8, .int4: panels.bindMemory(to: UInt32.self, capacity: panelBytes / 4)
    }
  }

  /// Packs rows that begin with a panel.
  private func pack(_ values: UnsafePointer<Float>, stride: Int, rows: Range<Int>) {
    let first = rows.lowerBound / Int(CK_PANEL)
    let panels = panels + first * ck_panel_bytes(inputs, element.kernelFormat)
    if let scales {
      Kernels.table.quantise(
        values, stride, rows.count, inputs, element.kernelFormat, panels,
        scales + first * ck_scale_bytes(inputs, element.kernelFormat) / 2)
    } else if element != .float32 {
      ck_pack_narrow(values, stride, rows.count, inputs, panels.assumingMemoryBound(to: UInt16.self))
    } else {
      ck_pack(values, stride, rows.count, inputs, panels.assumingMemoryBound(to: Float.self))
    }
  }

  deinit { panels.deallocate() }

  /// One row of W as float32.   row `[inputs]`.
  public func copyRow(_ output: Int, into row: UnsafeMutablePointer<Float>) {
    precondition(output >= 0 && output < outputs, "packed weights: row out of range")
    ck_row(panels, scales, element.kernelFormat, inputs, output, row)
    withExtendedLifetime(self) {}
  }

  /// Y = X·Wᵀ (+ bias) (+ Z·Bᵀ), or Y += the same.   x `[rows, inputs]`, y `[rows, outputs]`,
  /// z `[rows, r]`, B packed `[outputs, ≥ r]` in float32: its first r columns are used. Each value is one chain of
  /// multiply-adds over the inputs (or pairs of them) and then over r in ascending order, so a row's bits do not depend on
  /// the rows beside it, nor on who of `crew` computed it. Quantised weights: a row's inputs are rounded to 8 bits in groups of 32, each group's sum is
  /// exact and one link of the chain; Z, B and the bias are as ever. Y must not overlap an input.
  public func multiply(
    _ x: MatrixView, bias: UnsafePointer<Float>?, extra: (z: MatrixView, columns: PackedWeights)?,
    accumulate: Bool, crew: Crew? = nil, into y: MatrixView
  ) {
    precondition(
      x.columns == inputs && y.columns == outputs && x.rows == y.rows, "packed product: shapes")
    var call = ck_linear(
      x: x.base, xStride: x.stride, panels: panels, scales: scales, rows: x.rows, inputs: inputs,
      outputs: outputs, bias: bias, z: nil, zStride: 0, extraPanels: nil, extra: 0, extraInputs: 0, y: y.base,
      yStride: y.stride, accumulate: accumulate ? 1 : 0, format: element.kernelFormat,
      rounded: element == .bfloat16Pairs ? 1 : 0)
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
      crew.run(
        call, panelBytes: ck_panel_bytes(inputs, element.kernelFormat),
        scaleBytes: ck_scale_bytes(inputs, element.kernelFormat))
    } else {
      Kernels.table.linear(&call)
    }
    // `extra` is read through bare pointers above.
    withExtendedLifetime((self, extra?.columns)) {}
  }

  /// dX = dY·W or dX += dY·W, for the first `dX.columns` inputs.   dY `[rows, outputs]`. The same fixed
  /// order, over the outputs; quantised weights are widened, dY is not rounded.
  public func multiplyTransposed(_ dY: MatrixView, accumulate: Bool, into dX: MatrixView) {
    precondition(
      dY.columns == outputs && dX.columns <= inputs && dX.rows == dY.rows,
      "packed transposed product: shapes")
    var call = ck_linear_backward(
      dY: dY.base, dYStride: dY.stride, panels: panels, scales: scales, rows: dY.rows, inputs: inputs,
      outputs: outputs, columns: dX.columns, dX: dX.base, dXStride: dX.stride,
      accumulate: accumulate ? 1 : 0, format: element.kernelFormat)
    Kernels.table.linear_backward(&call)
    withExtendedLifetime(self) {}
  }
}
