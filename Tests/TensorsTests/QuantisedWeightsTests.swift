import CKernels
import Testing

@testable import Tensors

private let quantised = PackedElement.allCases.filter(\.isQuantised)
/// (outputs, inputs), with and without whole panels, groups and stretches of rounded inputs.
private let shapes = [(1, 1), (15, 7), (16, 32), (17, 33), (100, 384), (33, 1000), (40, 1536)]

extension Twin {
  /// X as quantised weights read it: whole steps of the largest magnitude / 127 in each row's 32 inputs.
  static func rounded(_ x: MatrixView) -> Field {
    let result = Field(x.rows, x.columns) { x[$0, $1] }
    for row in 0..<x.rows {
      for start in stride(from: 0, to: x.columns, by: 32) {
        let group = start..<min(start + 32, x.columns)
        let scale = (group.map { abs(x[row, $0]) }.max() ?? 0) / 127
        let inverse = 1 / scale
        for k in group { result.view[row, k] = (x[row, k] * inverse).rounded(.toNearestOrEven) * scale }
      }
    }
    return result
  }
}

/// Weights of 8.5 and 4.5 bits.
@Suite struct QuantisedWeightsTests {
  /// W as the panels hold it.
  private func widened(_ packed: PackedWeights) -> Matrix {
    var result = Matrix(zeros: packed.outputs, packed.inputs)
    result.withMutableView { view in
      for row in 0..<view.rows { packed.copyRow(row, into: view.row(row)) }
    }
    return result
  }

  private func normal(_ rows: Int, _ columns: Int, _ random: inout RandomSource) -> Matrix {
    Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in (0..<12).reduce(-6) { sum, _ in sum + random.uniform() } })
  }

  /// ‖Ŵ−W‖/‖W‖ of normally distributed weights: what the levels and the search for a scale leave.
  @Test func `weights keep their values within the element's error`() {
    var random = RandomSource(seed: 41)
    let matrix = normal(64, 1024, &random)
    for (element, most) in [(PackedElement.int8, 0.0052), (.int4, 0.075)] {
      let error = relativeDistance(widened(PackedWeights(matrix, as: element)).values, matrix.values)
      print("\(element.rawValue): relative error \(error)")
      #expect(error < most && error > most / 2)
    }
  }

  @Test(arguments: quantised) func `zeros stay zeros`(_ element: PackedElement) {
    var random = RandomSource(seed: 46)
    var matrix = normal(17, 70, &random)
    for row in 0..<17 {
      for k in 0..<70 where (32..<64).contains(k) || k % 3 == 0 { matrix[row, k] = 0 }
    }
    let result = widened(PackedWeights(matrix, as: element))
    for row in 0..<17 {
      for k in 0..<70 { #expect((result[row, k] == 0) || matrix[row, k] != 0) }
      #expect((0..<70).contains { result[row, $0] != 0 })
    }
  }

  @Test(arguments: quantised) func `a value that is not finite spoils its group and no other`(
    _ element: PackedElement
  ) {
    for value in [Float.nan, .infinity, -.infinity] {
      var random = RandomSource(seed: 42)
      var matrix = normal(2, 96, &random)
      let plain = widened(PackedWeights(matrix, as: element))
      matrix[1, 40] = value
      let result = widened(PackedWeights(matrix, as: element))
      for k in 0..<96 {
        #expect(result[0, k] == plain[0, k])
        #expect((32..<64).contains(k) ? result[1, k].isNaN : result[1, k] == plain[1, k])
      }
      // The same for an input of a product.
      let packed = PackedWeights(plain, as: element)
      let (x, y) = (Field(2, 96) { $0 == 1 && $1 == 5 ? value : 1 }, Field(2, 2))
      packed.multiply(x.view, bias: nil, extra: nil, accumulate: false, into: y.view)
      #expect(y.view[0, 0].isFinite && y.view[0, 1].isFinite && y.view[1, 0].isNaN && y.view[1, 1].isNaN)
    }
  }

  @Test(arguments: shapes) func `products are those of the widened weights and the rounded inputs`(
    _ outputs: Int, _ inputs: Int
  ) {
    var random = RandomSource(seed: 43, stream: UInt64(outputs * 4096 + inputs))
    let matrix = Matrix(randomly: outputs, inputs, &random)
    let b = Matrix(randomly: outputs, 9, &random)
    let columns = PackedWeights(b)
    let bias = Field(1, outputs, random: &random)
    for element in quantised {
      let packed = PackedWeights(matrix, as: element)
      let w = widened(packed)
      let wide = PackedWeights(w)
      for rows in [1, 2, 3, 5, 7, 12, 13, 30, 100] {
        let (x, z) = (Field(rows, inputs, random: &random), Field(rows, 6, random: &random))
        let rounded = Twin.rounded(x.view)
        let plain = Twin.product(rows, outputs, inputs, { rounded.view[$0, $1] }, { w[$0, $1] })
        let shared = Twin.product(rows, outputs, 6, { z.view[$0, $1] }, { b[$0, $1] })
        let y = Field(rows, outputs) { _, _ in 0.5 }
        packed.multiply(
          x.view, bias: bias.view.base, extra: (z.view, columns), accumulate: true, into: y.view)
        let expected = plain.indices.map { plain[$0] + shared[$0] + Double(bias.view[0, $0 % outputs]) + 0.5 }
        #expect(y.distance(from: expected) < Twin.tolerance(inputs + 6, scale: 2))
        #expect(y.isGuarded)
        packed.multiply(x.view, bias: nil, extra: nil, accumulate: false, into: y.view)
        #expect(y.distance(from: plain) < Twin.tolerance(inputs))

        // Backwards nothing is rounded: the bits of float32 panels of the same weights.
        let dY = Field(rows, outputs, random: &random)
        let results = [packed, wide].map { weights in
          let dX = Field(rows, inputs) { _, _ in 0.25 }
          weights.multiplyTransposed(dY.view, accumulate: true, into: dX.view)
          #expect(dX.isGuarded)
          return dX.bits
        }
        #expect(results[0] == results[1])
      }
    }
  }

  @Test(arguments: [(384, 384), (60, 1536), (33, 312), (17, 33)])
  func `rows keep their bits`(_ outputs: Int, _ inputs: Int) {
    var random = RandomSource(seed: 44, stream: UInt64(outputs))
    let rows = 133
    let columns = PackedWeights(Matrix(randomly: outputs, 16, &random))
    let (x, z) = (Field(rows, inputs, random: &random), Field(rows, 8, random: &random))
    let dY = Field(rows, outputs, random: &random)
    let matrix = Matrix(randomly: outputs, inputs, &random)
    for element in quantised {
      let packed = PackedWeights(matrix, as: element)
      let (together, backTogether) = (Field(rows, outputs), Field(rows, inputs))
      packed.multiply(x.view, bias: nil, extra: (z.view, columns), accumulate: false, into: together.view)
      packed.multiplyTransposed(dY.view, accumulate: false, into: backTogether.view)
      for size in [1, 2, 3, 4, 5, 7, 8, 12, 16, 33, 64] {
        let (apart, backApart) = (Field(rows, outputs), Field(rows, inputs))
        for start in stride(from: 0, to: rows, by: size) {
          let part = start..<min(rows, start + size)
          packed.multiply(
            x.view.rows(part), bias: nil, extra: (z.view.rows(part), columns), accumulate: false,
            into: apart.view.rows(part))
          packed.multiplyTransposed(dY.view.rows(part), accumulate: false, into: backApart.view.rows(part))
        }
        #expect(apart.bits == together.bits, "\(size) rows at a time")
        #expect(backApart.bits == backTogether.bits, "\(size) rows at a time, backwards")
      }
    }
  }

  /// Panels and group sums are integers: the same bits. The chain over groups is the same where multiply-adds are fused.
  @Test(arguments: shapes) func `instruction sets agree`(_ outputs: Int, _ inputs: Int) throws {
    var random = RandomSource(seed: 45, stream: UInt64(outputs))
    let matrix = normal(outputs, inputs, &random)
    let sets = (0...3).compactMap { ck_at(Int32($0))?.pointee }
    let rows = 14
    let x = Field(rows, inputs, random: &random)
    for format in [Int32(CK_INT8), Int32(CK_INT4)] {
      let panelCount = (outputs + 15) / 16
      var results: [(panels: [UInt8], scales: [UInt16], y: Field)] = []
      for kernels in sets {
        var panels = [UInt8](repeating: 0, count: panelCount * ck_panel_bytes(inputs, format))
        var scales = [UInt16](repeating: 0, count: panelCount * ck_scale_bytes(inputs, format) / 2)
        let y = Field(rows, outputs)
        kernels.quantise(matrix.values, inputs, outputs, inputs, format, &panels, &scales)
        panels.withUnsafeBytes { panels in
          scales.withUnsafeBufferPointer { scales in
            guard let panels = panels.baseAddress else { return }
            var call = ck_linear(
              x: x.view.base, xStride: x.view.stride, panels: panels, scales: scales.baseAddress, rows: rows,
              inputs: inputs, outputs: outputs, bias: nil, z: nil, zStride: 0, extraPanels: nil, extra: 0,
              extraInputs: 0, y: y.view.base, yStride: y.view.stride, accumulate: 0, format: format,
              rounded: 0)
            kernels.linear(&call)
          }
        }
        results.append((panels, scales, y))
      }
      let slow = try #require(results.first)
      let fused = results.dropFirst()
      for fast in fused {
        #expect(fast.panels == slow.panels && fast.scales == slow.scales)
        #expect(
          fast.y.distance(from: Matrix(slow.y.view).values.map(Double.init))
            < Twin.tolerance(inputs, scale: 4))
        #expect(fast.y.bits == fused.first?.y.bits)
      }
    }
  }

  @Test func `its bytes are 8.5 and 4.5 bits a weight of whole panels and groups`() {
    #expect(PackedWeights(Matrix(zeros: 17, 33), as: .int8).residentBytes == 32 * 64 * 17 / 16)
    #expect(PackedWeights(Matrix(zeros: 17, 33), as: .int4).residentBytes == 32 * 64 * 9 / 16)
  }
}

/// ‖a−b‖/‖b‖.
private func relativeDistance(_ a: [Float], _ b: [Float]) -> Double {
  let off = zip(a, b).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
  return (off / b.reduce(0.0) { $0 + Double($1) * Double($1) }).squareRoot()
}
