import Tensors

/// The slow twins: plain loops in Double. They are the specification.
enum Twin {
  /// op(A)·op(B)ᵀ written as a sum over k of `a(i, k) * b(j, k)`.
  static func product(
    _ m: Int, _ n: Int, _ k: Int, _ a: (Int, Int) -> Float, _ b: (Int, Int) -> Float
  ) -> [Double] {
    var result = [Double](repeating: 0, count: m * n)
    for i in 0..<m {
      for j in 0..<n {
        var sum = 0.0
        for l in 0..<k { sum += Double(a(i, l)) * Double(b(j, l)) }
        result[i * n + j] = sum
      }
    }
    return result
  }

  /// What a float32 chain of `terms` products of values in -1...1 may be off by. Its partial sums wander
  /// like √i/3, so their roundings add up to a standard error of terms·2⁻²⁴/4.2; seven of those.
  static func tolerance(_ terms: Int, scale: Double = 1) -> Double {
    abs(scale) * (1e-6 + 1e-7 * Double(terms))
  }
}

/// A matrix in memory of its own with a stride larger than its columns; the gaps and the end are guarded.
/// Bind it to a name: a temporary is gone before its view is used.
final class Field {
  static let guardValue: Float = 12345.5
  let view: MatrixView
  private let memory: UnsafeMutablePointer<Float>
  private let count: Int

  init(_ rows: Int, _ columns: Int, gap: Int = 3, _ value: (Int, Int) -> Float = { _, _ in 0 }) {
    let stride = columns + gap
    count = rows * stride + 16
    memory = .allocate(capacity: count)
    memory.initialize(repeating: Self.guardValue, count: count)
    view = MatrixView(base: memory, rows: rows, columns: columns, stride: stride)
    for row in 0..<rows {
      for column in 0..<columns { view[row, column] = value(row, column) }
    }
  }

  convenience init(_ rows: Int, _ columns: Int, gap: Int = 3, random: inout RandomSource) {
    let values = (0..<rows * columns).map { _ in random.uniform() * 2 - 1 }
    self.init(rows, columns, gap: gap) { values[$0 * columns + $1] }
  }

  deinit { memory.deallocate() }

  /// Whether nothing was written outside the matrix.
  var isGuarded: Bool {
    (0..<count).allSatisfy { index in
      let (row, column) = (index / view.stride, index % view.stride)
      return (row < view.rows && column < view.columns) || memory[index] == Self.guardValue
    }
  }

  /// The largest distance from the expected values; infinite where a value is not finite.
  func distance(from expected: [Double]) -> Double {
    var most = 0.0
    for row in 0..<view.rows {
      for column in 0..<view.columns {
        let value = Double(view[row, column])
        guard value.isFinite else { return .infinity }
        most = max(most, abs(value - expected[row * view.columns + column]))
      }
    }
    return most
  }

  var bits: [[UInt32]] {
    (0..<view.rows).map { row in (0..<view.columns).map { view[row, $0].bitPattern } }
  }
}

extension Matrix {
  /// Values in -1..<1.
  init(randomly rows: Int, _ columns: Int, _ random: inout RandomSource) {
    let values = (0..<rows * columns).map { _ in random.uniform() * 2 - 1 }
    self.init(rows: rows, columns: columns, values: values)
  }
}
