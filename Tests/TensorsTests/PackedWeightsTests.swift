import Tensors
import Testing

/// (outputs, inputs), with and without whole panels and whole blocks.
private let shapes = [
  (1, 1), (15, 7), (16, 16), (17, 33), (32, 60), (60, 32), (100, 384), (384, 384), (312, 385), (33, 1536),
]
private let rowCounts = [1, 2, 3, 4, 5, 6, 7, 10, 12, 13, 16, 33]
private let ranks = [1, 4, 8, 16, 33]

@Suite struct PackedWeightsTests {
  @Test(arguments: shapes) func multiplies(_ outputs: Int, _ inputs: Int) {
    var random = RandomSource(seed: 1, stream: UInt64(outputs * 4096 + inputs))
    let w = Field(outputs, inputs, random: &random)
    let packed = PackedWeights(
      rowMajor: w.view.base, outputs: outputs, inputs: inputs, stride: w.view.stride)
    let bias = Field(1, outputs, random: &random)
    for (index, rows) in rowCounts.enumerated() {
      let rank = ranks[index % ranks.count]
      let x = Field(rows, inputs, random: &random)
      let z = Field(rows, rank, random: &random)
      let b = Field(outputs, rank + 5, random: &random)
      let columns = PackedWeights(Matrix(b.view))
      let plain = Twin.product(rows, outputs, inputs, { x.view[$0, $1] }, { w.view[$0, $1] })
      let shared = Twin.product(rows, outputs, rank, { z.view[$0, $1] }, { b.view[$0, $1] })
      for accumulate in [false, true] {
        for useBias in [false, true] {
          for useShared in [false, true] {
            let y = Field(rows, outputs) { Float($0 - $1) / 64 }
            packed.multiply(
              x.view, bias: useBias ? UnsafePointer(bias.view.base) : nil,
              extra: useShared ? (z.view, columns) : nil, accumulate: accumulate, into: y.view)
            let expected = (0..<rows * outputs).map { at in
              plain[at] + (useShared ? shared[at] : 0)
                + (useBias ? Double(bias.view[0, at % outputs]) : 0)
                + (accumulate ? Double(at / outputs - at % outputs) / 64 : 0)
            }
            let start = Double(accumulate ? max(rows, outputs) : 1) / 16
            #expect(y.distance(from: expected) < Twin.tolerance(inputs + rank, scale: 1 + start))
            #expect(y.isGuarded)
          }
        }
      }
    }
  }

  @Test(arguments: shapes) func multipliesTransposed(_ outputs: Int, _ inputs: Int) {
    var random = RandomSource(seed: 2, stream: UInt64(outputs * 4096 + inputs))
    let w = Field(outputs, inputs, random: &random)
    let packed = PackedWeights(Matrix(w.view))
    for rows in rowCounts {
      let dY = Field(rows, outputs, random: &random)
      for columns in Set([inputs, max(1, inputs - 5), 1]) {
        let plain = Twin.product(rows, columns, outputs, { dY.view[$0, $1] }, { w.view[$1, $0] })
        for accumulate in [false, true] {
          let dX = Field(rows, columns) { _, _ in 0.5 }
          packed.multiplyTransposed(dY.view, accumulate: accumulate, into: dX.view)
          let expected = plain.map { $0 + (accumulate ? 0.5 : 0) }
          #expect(dX.distance(from: expected) < Twin.tolerance(outputs))
          #expect(dX.isGuarded)
        }
      }
    }
  }

  @Test(arguments: [(384, 384), (60, 1536), (1536, 60), (33, 312)])
  func rowsKeepTheirBits(_ outputs: Int, _ inputs: Int) {
    var random = RandomSource(seed: 3, stream: UInt64(outputs))
    let rows = 133
    let packed = PackedWeights(Matrix(randomly: outputs, inputs, &random))
    let columns = PackedWeights(Matrix(randomly: outputs, 16, &random))
    let x = Field(rows, inputs, random: &random)
    let z = Field(rows, 8, random: &random)
    let dY = Field(rows, outputs, random: &random)
    let together = Field(rows, outputs)
    let backTogether = Field(rows, inputs)
    packed.multiply(x.view, bias: nil, extra: (z.view, columns), accumulate: false, into: together.view)
    packed.multiplyTransposed(dY.view, accumulate: false, into: backTogether.view)
    for size in [1, 2, 3, 4, 5, 6, 7, 10, 16, 33, 64] {
      let apart = Field(rows, outputs)
      let backApart = Field(rows, inputs)
      for start in stride(from: 0, to: rows, by: size) {
        let part = start..<min(rows, start + size)
        packed.multiply(
          x.view.rows(part), bias: nil, extra: (z.view.rows(part), columns), accumulate: false,
          into: apart.view.rows(part))
        packed.multiplyTransposed(
          dY.view.rows(part), accumulate: false, into: backApart.view.rows(part))
      }
      #expect(apart.bits == together.bits, "\(size) rows at a time")
      #expect(backApart.bits == backTogether.bits, "\(size) rows at a time, backwards")
    }
  }

  @Test func zeroCoefficientsLeaveTheBaseAlone() {
    var random = RandomSource(seed: 4)
    let packed = PackedWeights(Matrix(randomly: 60, 384, &random))
    let columns = PackedWeights(Matrix(randomly: 60, 16, &random))
    let x = Field(7, 384, random: &random)
    let z = Field(7, 16)
    let (bare, adapted) = (Field(7, 60), Field(7, 60))
    packed.multiply(x.view, bias: nil, extra: nil, accumulate: false, into: bare.view)
    packed.multiply(x.view, bias: nil, extra: (z.view, columns), accumulate: false, into: adapted.view)
    #expect(bare.bits == adapted.bits)
  }

  @Test func countsItsBytes() {
    #expect(PackedWeights(Matrix(zeros: 17, 10)).residentBytes == 32 * 10 * 4)
  }

  @Test func refusesAnotherShape() async {
    await #expect(processExitsWith: .failure) {
      let packed = PackedWeights(Matrix(zeros: 4, 4))
      let arena = Arena()
      let x = arena.matrix(1, 5)
      packed.multiply(x, bias: nil, extra: nil, accumulate: false, into: x)
    }
  }
}
