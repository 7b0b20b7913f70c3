import CKernels
import Testing

@testable import Tensors

/// Every instruction set that this processor has, against the baseline's.
@Suite struct KernelsTests {
  @Test func theBestIsChosen() throws {
    let available = (0...4).compactMap { ck_at(Int32($0)).map { String(cString: $0.pointee.name) } }
    #expect(available.first == "scalar")
    #expect(Kernels.instructionSet == available.last)
    #expect(ck_at(5) == nil)
  }

  @Test(arguments: [1, 2, 3, 4]) func agreesWithTheBaseline(_ level: Int) throws {
    guard let fast = ck_at(Int32(level))?.pointee, let slow = ck_at(0)?.pointee else { return }
    var random = RandomSource(seed: 12)
    let (rows, inputs, outputs) = (13, 61, 45)
    let w = Field(outputs, inputs, gap: 0, random: &random)
    let panels = Field(48, inputs, gap: 0)
    ck_pack(w.view.base, inputs, outputs, inputs, panels.view.base)
    let narrow = UnsafeMutablePointer<UInt16>.allocate(capacity: 48 * inputs)
    defer { narrow.deallocate() }
    ck_pack_narrow(w.view.base, inputs, outputs, inputs, narrow)
    let x = Field(rows, inputs, random: &random)
    let dY = Field(rows, outputs, random: &random)
    var results: [[Field]] = []
    for kernels in [fast, slow] {
      let (y, dX) = (Field(rows, outputs), Field(rows, inputs))
      var forward = ck_linear(
        x: x.view.base, xStride: x.view.stride, panels: panels.view.base, scales: nil, rows: rows,
        inputs: inputs, outputs: outputs, bias: nil, z: nil, zStride: 0, extraPanels: nil, extra: 0,
        extraInputs: 0, y: y.view.base, yStride: y.view.stride, accumulate: 0, format: 0, rounded: 0)
      kernels.linear(&forward)
      let rounded = [1, 12, rows].map { rows in
        let y = Field(rows, outputs)
        forward.panels = UnsafeRawPointer(narrow)
        (forward.format, forward.rounded, forward.rows) = (Int32(CK_BFLOAT16), 1, rows)
        (forward.y, forward.yStride) = (y.view.base, y.view.stride)
        kernels.linear(&forward)
        return y
      }
      var backward = ck_linear_backward(
        dY: dY.view.base, dYStride: dY.view.stride, panels: panels.view.base, scales: nil, rows: rows,
        inputs: inputs, outputs: outputs, columns: inputs, dX: dX.view.base, dXStride: dX.view.stride,
        accumulate: 0, format: 0)
      kernels.linear_backward(&backward)
      let activated = (0..<4).map { kind in
        let result = Field(rows, inputs)
        for row in 0..<rows { kernels.activate(Int32(kind), x.view.row(row), result.view.row(row), inputs) }
        return result
      }
      let shares = Field(rows, inputs)
      for row in 0..<rows { kernels.softmax(x.view.row(row), 3, shares.view.row(row), inputs) }
      results.append([y, dX, shares] + rounded + activated)
    }
    for (a, b) in zip(results[0], results[1]) {
      let expected = Matrix(b.view).values.map(Double.init)
      #expect(a.distance(from: expected) < Twin.tolerance(inputs))
      #expect(a.isGuarded && b.isGuarded)
    }
  }
}
