import CKernels
import Foundation
import Testing

@testable import Tensors

private let widths = [1, 2, 15, 16, 17, 40, 64, 385]

/// What decoders use beside the encoder's kernels, against Double twins.
@Suite struct DecoderKernelsTests {
  private func random(_ rows: Int, _ columns: Int, _ seed: UInt64) -> Field {
    var random = RandomSource(seed: seed, stream: UInt64(columns))
    return Field(rows, columns, random: &random)
  }

  /// The slope of `f` along each value, by central differences in Double.
  private func slope(_ x: [Double], _ f: ([Double]) -> Double) -> [Double] {
    x.indices.map { index in
      var (above, below) = (x, x)
      above[index] += 1e-6
      below[index] -= 1e-6
      return (f(above) - f(below)) / 2e-6
    }
  }

  private func values(_ x: MatrixView) -> [Double] { Matrix(x).values.map(Double.init) }

  @Test(arguments: widths) func `root mean square norm and its gradient`(_ width: Int) {
    let (x, dY, gain) = (random(3, width, 1), random(3, width, 2), random(1, width, 3))
    let (y, dX) = (Field(3, width), Field(3, width) { _, _ in 0.5 })
    var inverse = [Float](repeating: 0, count: 3)
    let g = values(gain.view)
    func norm(_ x: [Double]) -> [Double] {
      let root = (x.reduce(0) { $0 + $1 * $1 } / Double(width) + 1e-2).squareRoot()
      return zip(x, g).map { $0 / root * $1 }
    }
    Elementwise.rmsNorm(x.view, gain: gain.view.base, epsilon: 1e-2, into: y.view, inverse: &inverse)
    Elementwise.rmsNormBackward(
      dY.view, input: x.view, gain: gain.view.base, inverse: inverse, accumulate: true, into: dX.view)
    let rows = (0..<3).map { values(x.view.rows($0..<$0 + 1)) }
    #expect(y.distance(from: rows.flatMap(norm)) < 1e-5)
    let slopes = rows.enumerated().flatMap { index, row in
      let d = values(dY.view.rows(index..<index + 1))
      return slope(row) { zip(norm($0), d).reduce(0) { $0 + $1.0 * $1.1 } }
    }
    #expect(dX.distance(from: slopes.map { $0 + 0.5 }) < 1e-4)
    #expect(y.isGuarded && dX.isGuarded)
  }

  @Test(arguments: widths) func `gated units and their gradients`(_ width: Int) {
    let gate = Field(2, width) { Float($0 * 31 + $1 * 7 % 61) / 3 - 12 }
    let (up, dY) = (random(2, width, 5), random(2, width, 6))
    let (y, dGate, dUp) = (Field(2, width), Field(2, width), Field(2, width))
    func silu(_ x: Double) -> Double { x / (1 + exp(-x)) }
    Elementwise.swiGLU(gate: gate.view, up: up.view, into: y.view)
    Elementwise.swiGLUBackward(dY.view, gate: gate.view, up: up.view, into: dGate.view, dUp.view)
    let (g, u, d) = (values(gate.view), values(up.view), values(dY.view))
    let scale = 2e-6 * (g.map(abs).max() ?? 1)
    #expect(y.distance(from: zip(g, u).map { silu($0) * $1 }) < scale)
    #expect(dUp.distance(from: zip(g, d).map { silu($0) * $1 }) < scale)
    let slopes = g.indices.map { index in
      (silu(g[index] + 1e-5) - silu(g[index] - 1e-5)) / 2e-5 * u[index] * d[index]
    }
    #expect(dGate.distance(from: slopes) < scale)
    #expect(y.isGuarded && dGate.isGuarded && dUp.isGuarded)
    // Far ends go to 0 and to the value itself.
    let ends = Field(1, 4) { [-200, 200, -90, 90][$1] }
    let ones = Field(1, 4) { _, _ in 1 }
    Elementwise.swiGLU(gate: ends.view, up: ones.view, into: ends.view)
    #expect(abs(ends.view[0, 0]) < 1e-30 && ends.view[0, 1] == 200)
    #expect(abs(ends.view[0, 2]) < 1e-30 && ends.view[0, 3] == 90)
  }

  @Test(arguments: [1, 4, 10, 16, 32]) func `rotations and back`(_ half: Int) {
    let x = random(3, 2 * 2 * half, 7)
    let angles = random(3, half, 8)
    let cosines = Field(3, half) { cos(angles.view[$0, $1]) }
    let sines = Field(3, half) { sin(angles.view[$0, $1]) }
    let before = values(x.view)
    let expected = (0..<3).flatMap { row in
      (0..<4 * half).map { column -> Double in
        let (head, place) = (column / (2 * half), column % (2 * half))
        let pair = place % half
        let a = before[row * 4 * half + head * 2 * half + pair]
        let b = before[row * 4 * half + head * 2 * half + half + pair]
        let (c, s) = (Double(cosines.view[row, pair]), Double(sines.view[row, pair]))
        return place < half ? a * c - b * s : b * c + a * s
      }
    }
    Elementwise.rotate(x.view, cosines: cosines.view, sines: sines.view)
    #expect(x.distance(from: expected) < 1e-6)
    Elementwise.rotate(x.view, cosines: cosines.view, sines: sines.view, inverse: true)
    #expect(x.distance(from: before) < 1e-6)
    #expect(x.isGuarded)
  }

  /// But for what a fused multiply-add rounds once.
  @Test(arguments: [1, 2, 3, 4]) func `instruction sets agree`(_ level: Int) throws {
    guard let fast = ck_at(Int32(level))?.pointee, let slow = ck_at(0)?.pointee else { return }
    let (x, dY, gain) = (random(1, 61, 9), random(1, 61, 10), random(1, 61, 11))
    var results: [[Field]] = []
    for kernels in [fast, slow] {
      let fields = (0..<5).map { _ in Field(1, 61) }
      var inverse: Float = 0
      kernels.rms_norm(x.view.base, gain.view.base, 1e-3, fields[0].view.base, 61, &inverse)
      kernels.rms_norm_backward(
        dY.view.base, x.view.base, gain.view.base, inverse, 0, fields[1].view.base, 61)
      kernels.swiglu(x.view.base, dY.view.base, fields[2].view.base, 61)
      kernels.swiglu_backward(
        gain.view.base, x.view.base, dY.view.base, fields[3].view.base, fields[4].view.base, 61)
      results.append(fields)
    }
    for (a, b) in zip(results[0], results[1]) {
      #expect(a.distance(from: values(b.view)) < 2e-6)
      #expect(a.isGuarded && b.isGuarded)
    }
  }
}

/// Weights of half the bytes: the products are those of the rounded weights, to the bit.
@Suite struct NarrowWeightsTests {
  @Test func `rounding is to nearest, ties to even`() {
    var values: [Float] = [1, 1.00390625, 1.01171875, -1.004, 3.4e38, .infinity, -0.0, 0x1p-149, .nan]
    PackedElement.bfloat16.round(&values, count: values.count)
    #expect(values[0] == 1 && values[1] == 1 && values[2] == 1.015625 && values[3] == -1.0078125)
    #expect(values[4] == .infinity && values[5] == .infinity && values[6].sign == .minus && values[7] == 0)
    #expect(values[8].isNaN)
    let kept = values
    PackedElement.float32.round(&values, count: values.count)
    #expect(values.dropLast().elementsEqual(kept.dropLast()))
  }

  @Test(arguments: [(1, 1), (15, 7), (17, 33), (100, 384), (33, 1000)])
  func `products are those of the rounded weights`(_ outputs: Int, _ inputs: Int) {
    var random = RandomSource(seed: 31, stream: UInt64(outputs * 4096 + inputs))
    var matrix = Matrix(randomly: outputs, inputs, &random)
    let narrow = PackedWeights(matrix, as: .bfloat16)
    matrix.values.withUnsafeMutableBufferPointer { values in
      if let base = values.baseAddress { PackedElement.bfloat16.round(base, count: values.count) }
    }
    let wide = PackedWeights(matrix)
    #expect(narrow.residentBytes * 2 == wide.residentBytes)
    let columns = PackedWeights(Matrix(randomly: outputs, 8, &random))
    let bias = Field(1, outputs, random: &random)
    for rows in [1, 2, 3, 5, 6, 7, 12, 13, 30, 133] {
      let (x, z) = (Field(rows, inputs, random: &random), Field(rows, 8, random: &random))
      let dY = Field(rows, outputs, random: &random)
      let results = [narrow, wide].map { weights in
        let (y, dX) = (Field(rows, outputs) { _, _ in 0.25 }, Field(rows, inputs) { _, _ in 0.25 })
        weights.multiply(
          x.view, bias: bias.view.base, extra: (z.view, columns), accumulate: true, into: y.view)
        weights.multiplyTransposed(dY.view, accumulate: true, into: dX.view)
        #expect(y.isGuarded && dX.isGuarded)
        return y.bits + dX.bits
      }
      #expect(results[0] == results[1], "\(rows) rows")
    }
    for row in [0, outputs - 1] {
      let (a, b) = (Field(1, inputs), Field(1, inputs))
      narrow.copyRow(row, into: a.view.base)
      wide.copyRow(row, into: b.view.base)
      #expect(a.bits == b.bits)
      #expect(Matrix(b.view).values == (0..<inputs).map { matrix[row, $0] })
      #expect(a.isGuarded && b.isGuarded)
    }
  }

  @Test(arguments: [(1, 1), (15, 7), (17, 33), (100, 384), (33, 1000), (20, 3100)])
  func `products of pairs are those of rounded inputs`(_ outputs: Int, _ inputs: Int) {
    var random = RandomSource(seed: 33, stream: UInt64(outputs * 4096 + inputs))
    func rounded(_ matrix: Matrix) -> Matrix {
      var values = matrix.values
      PackedElement.bfloat16.round(&values, count: values.count)
      return Matrix(rows: matrix.rows, columns: matrix.columns, values: values)
    }
    let matrix = Matrix(randomly: outputs, inputs, &random)
    let pairs = PackedWeights(matrix, as: .bfloat16Pairs)
    #expect(pairs.residentBytes == PackedWeights(matrix, as: .bfloat16).residentBytes)
    let columns = PackedWeights(Matrix(randomly: outputs, 8, &random))
    let bias = Field(1, outputs, random: &random)
    let rows = 133
    let (x, z) = (Field(rows, inputs, random: &random), Field(rows, 8, random: &random))
    let (w, roundedX) = (rounded(matrix), rounded(Matrix(x.view)))
    let plain = Twin.product(rows, outputs, inputs, { roundedX[$0, $1] }, { w[$0, $1] })
    let y = Field(rows, outputs) { _, _ in 0.25 }
    pairs.multiply(x.view, bias: bias.view.base, extra: nil, accumulate: true, into: y.view)
    let expected = plain.enumerated().map { $1 + 0.25 + Double(bias.view[0, $0 % outputs]) }
    #expect(y.distance(from: expected) < Twin.tolerance(inputs, scale: 2))
    #expect(y.isGuarded)
    let together = Field(rows, outputs)
    pairs.multiply(x.view, bias: nil, extra: (z.view, columns), accumulate: false, into: together.view)
    for size in [1, 2, 3, 4, 6, 7, 12, 13, 97] {
      let apart = Field(rows, outputs)
      for start in stride(from: 0, to: rows, by: size) {
        let range = start..<min(start + size, rows)
        pairs.multiply(
          x.view.rows(range), bias: nil, extra: (z.view.rows(range), columns), accumulate: false,
          into: apart.view.rows(range))
      }
      #expect(apart.bits == together.bits, "\(size) rows at a time")
    }
  }

  @Test func `weights that come in pieces are packed the same`() {
    var random = RandomSource(seed: 32)
    let matrix = Matrix(randomly: 700, 9, &random)
    for element in PackedElement.allCases {
      let pieces = PackedWeights(outputs: 700, inputs: 9, as: element) { rows, output in
        for (index, place) in (rows.lowerBound * 9..<rows.upperBound * 9).enumerated() {
          output[index] = matrix.values[place]
        }
      }
      let whole = PackedWeights(matrix, as: element)
      for row in 0..<700 {
        let (a, b) = (Field(1, 9), Field(1, 9))
        pieces.copyRow(row, into: a.view.base)
        whole.copyRow(row, into: b.view.base)
        #expect(a.bits == b.bits)
      }
    }
  }
}
