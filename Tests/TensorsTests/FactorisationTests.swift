import Tensors
import Testing

private let tolerance = 1e-10

private func symmetric(_ order: Int, seed: UInt64) -> [Double] {
  var random = RandomSource(seed: seed)
  var a = [Double](repeating: 0, count: order * order)
  for row in 0..<order {
    for column in 0...row {
      a[row * order + column] = Double(random.normal())
      a[column * order + row] = a[row * order + column]
    }
  }
  return a
}

private func dot(_ a: ArraySlice<Double>, _ b: ArraySlice<Double>) -> Double {
  zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
}

@Suite struct FactorisationTests {
  @Test(arguments: [(1, 1), (2, 2), (7, 7), (7, 3), (60, 60), (60, 8), (97, 1)])
  func eigenVectorsSatisfyTheirEquation(_ order: Int, _ count: Int) throws {
    let a = symmetric(order, seed: UInt64(order))
    let (values, vectors) = try #require(Factorisation.leading(a, order: order, count: count))
    #expect(values.count == count && vectors.count == count * order)
    #expect(values == values.sorted(by: >))
    for k in 0..<count {
      let vector = vectors[k * order..<(k + 1) * order]
      for row in 0..<order {
        let product = dot(a[row * order..<(row + 1) * order], vector)
        #expect(abs(product - values[k] * vectors[k * order + row]) < tolerance * Double(order))
      }
      for other in 0...k {
        let expected = other == k ? 1.0 : 0
        #expect(abs(dot(vector, vectors[other * order..<(other + 1) * order]) - expected) < tolerance)
      }
    }
    let all = try #require(Factorisation.symmetricEigen(a, order: order))
    for k in 0..<count { #expect(abs(all.values[k] - values[k]) < tolerance * Double(order)) }
  }

  @Test func valuesThatAreNotFiniteHaveNoDecomposition() {
    #expect(Factorisation.symmetricEigen([1, 0, 0, .nan], order: 2) == nil)
    #expect(Factorisation.orthonormalise([1, .infinity], rows: 2, columns: 1) == nil)
  }

  @Test(arguments: [(1, 1), (5, 5), (33, 8), (100, 64)])
  func orthonormalColumnsSpanTheInput(_ rows: Int, _ columns: Int) throws {
    var random = RandomSource(seed: UInt64(rows))
    let a = (0..<rows * columns).map { _ in Double(random.normal()) }
    let q = try #require(Factorisation.orthonormalise(a, rows: rows, columns: columns))
    func column(_ m: [Double], _ k: Int) -> ArraySlice<Double> {
      (0..<rows).map { m[$0 * columns + k] }[...]
    }
    for i in 0..<columns {
      var rest = Array(column(a, i))
      for j in 0..<columns {
        #expect(abs(dot(column(q, i), column(q, j)) - (i == j ? 1 : 0)) < tolerance)
        let share = dot(column(q, j), column(a, i))
        if j == i { #expect(share > 0) }
        if j > i { #expect(abs(share) < tolerance * 100) }
        for row in 0..<rows { rest[row] -= share * q[row * columns + j] }
      }
      #expect(rest.allSatisfy { abs($0) < tolerance * 100 })
    }
  }

  @Test(arguments: [(1, 1), (3, 7), (17, 300), (32, 513)]) func gram(_ rows: Int, _ columns: Int) {
    var random = RandomSource(seed: 11)
    let m = Field(rows, columns, random: &random)
    var c = [Double](repeating: 1, count: rows * rows)
    Gram.accumulate(m.view, scale: 0.5, into: &c)
    Gram.accumulate(m.view, scale: 2, into: &c)
    for i in 0..<rows {
      for j in 0..<rows {
        let sum = (0..<columns).reduce(0) { $0 + Double(m.view[i, $1]) * Double(m.view[j, $1]) }
        #expect(abs(c[i * rows + j] - 1 - 2.5 * sum) < tolerance)
      }
    }
  }
}
