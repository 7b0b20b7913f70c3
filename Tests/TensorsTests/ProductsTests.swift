import Tensors
import Testing

/// (m, n, k)
private let shapes = [
  (1, 1, 1), (1, 16, 32), (2, 8, 384), (3, 33, 7), (6, 64, 300), (7, 10, 16), (10, 4, 1536), (16, 16, 64),
  (33, 60, 31), (64, 17, 257), (133, 8, 384), (5, 312, 133), (4, 1536, 64),
]

@Suite struct ProductsTests {
  @Test(arguments: shapes) func agreeWithTheTwin(_ m: Int, _ n: Int, _ k: Int) {
    var random = RandomSource(seed: 5, stream: UInt64(m * n + k))
    let scale: Float = 0.75
    let rowsByK = Field(m, k, random: &random)
    let kByRows = Field(k, m) { rowsByK.view[$1, $0] }
    let columnsByK = Field(n, k, random: &random)
    let kByColumns = Field(k, n) { columnsByK.view[$1, $0] }
    let sums = Twin.product(m, n, k, { rowsByK.view[$0, $1] }, { columnsByK.view[$0, $1] })
    for accumulate in [false, true] {
      let expected = sums.map { Double(scale) * $0 + (accumulate ? 0.25 : 0) }
      let outputs = (0..<3).map { _ in Field(m, n) { _, _ in 0.25 } }
      Products.nt(rowsByK.view, columnsByK.view, scale: scale, accumulate: accumulate, into: outputs[0].view)
      Products.nn(rowsByK.view, kByColumns.view, scale: scale, accumulate: accumulate, into: outputs[1].view)
      Products.tn(kByRows.view, kByColumns.view, scale: scale, accumulate: accumulate, into: outputs[2].view)
      for output in outputs {
        #expect(output.distance(from: expected) < Twin.tolerance(k))
        #expect(output.isGuarded)
      }
      // One order of reduction whatever the layout.
      #expect(outputs[0].bits == outputs[1].bits && outputs[1].bits == outputs[2].bits)
    }
  }

  @Test(arguments: [(8, 384), (33, 300), (64, 32)]) func rowsKeepTheirBits(_ n: Int, _ k: Int) {
    var random = RandomSource(seed: 6)
    let rows = 133
    let a = Field(rows, k, random: &random)
    let b = Field(n, k, random: &random)
    let together = Field(rows, n)
    Products.nt(a.view, b.view, into: together.view)
    for size in [1, 2, 3, 5, 6, 7, 10, 33] {
      let apart = Field(rows, n)
      for start in stride(from: 0, to: rows, by: size) {
        let part = start..<min(rows, start + size)
        Products.nt(a.view.rows(part), b.view, into: apart.view.rows(part))
      }
      #expect(apart.bits == together.bits, "\(size) rows at a time")
    }
  }

  /// Columns of a wider matrix, read past its end into what may be read.
  @Test(arguments: [(8, 576, 24), (16, 576, 16), (24, 300, 24), (3, 1536, 5), (56, 70, 130), (1, 1, 1)])
  func paddedColumnsGiveTheSameBits(_ n: Int, _ k: Int, _ stride: Int) {
    var random = RandomSource(seed: 7, stream: UInt64(n * k))
    let b = Field(n, k, random: &random)
    let memory = (0..<k * stride + 15).map { place in
      let (row, column) = (place / stride, place % stride)
      return row < k && column < n ? b.view[column, row] : Float.nan
    }
    for m in [1, 2, 3, 4, 6, 7, 12, 13, 33] {
      let a = Field(m, k, random: &random)
      let expected = Field(m, n)
      Products.nt(a.view, b.view, into: expected.view)
      let c = Field(m, n) { _, _ in 7 }
      var copy = memory
      copy.withUnsafeMutableBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return }
        let padded = MatrixView(base: base, rows: k, columns: n, stride: stride)
        Products.nn(a.view, padded: padded, into: c.view)
      }
      #expect(c.bits == expected.bits, "\(m) rows")
      #expect(c.isGuarded)
    }
  }

  @Test func anEmptyReductionIsZero() {
    let c = Field(3, 20) { _, _ in 7 }
    let (a, b) = (Field(3, 0), Field(20, 0))
    Products.nt(a.view, b.view, into: c.view)
    #expect(c.distance(from: [Double](repeating: 0, count: 60)) == 0)
  }

  @Test func refusesAnotherShape() async {
    await #expect(processExitsWith: .failure) {
      let arena = Arena()
      let x = arena.matrix(2, 5)
      Products.nn(x, x, into: x)
    }
  }
}
