internal import COpenBLAS

/// Eigen decomposition and orthonormal bases, in double, over LAPACK.
public enum Factorisation {
  /// All eigenvalues of a symmetric matrix `[order, order]`, largest first, and their unit vectors: vector k
  /// at `[k * order ..< (k + 1) * order]`. Only the lower triangle is read. Each vector's sign is such that
  /// its largest component is positive. Nil where LAPACK does not converge or a value is not finite.
  public static func symmetricEigen(
    _ a: [Double], order: Int
  ) -> (values: [Double], vectors: [Double])? {
    leading(a, order: order, count: order)
  }

  /// The `count` largest of them.
  public static func leading(
    _ a: [Double], order: Int, count: Int
  ) -> (values: [Double], vectors: [Double])? {
    precondition(order >= 0 && a.count == order * order && (0...order).contains(count), "eigen: shape")
    guard a.allSatisfy(\.isFinite) else { return nil }
    guard count > 0 else { return ([], []) }
    let found = count == order ? all(a, Int32(order)) : some(a, Int32(order), Int32(count))
    guard let (values, vectors) = found else { return nil }
    // LAPACK's order is ascending.
    var sorted: [Double] = []
    sorted.reserveCapacity(order * count)
    for k in stride(from: count - 1, through: 0, by: -1) {
      let vector = vectors[k * order..<(k + 1) * order]
      let largest = vector.max { abs($0) < abs($1) } ?? 0
      sorted.append(contentsOf: largest < 0 ? vector.map { -$0 } : Array(vector))
    }
    return (Array(values[0..<count].reversed()), sorted)
  }

  // Row-major and symmetric is column-major too; the row-major lower triangle is LAPACK's upper one.
  private static func all(_ a: [Double], _ order: Int32) -> (values: [Double], vectors: [Double])? {
    var (n, info, size, integerSize) = (order, Int32(0), Int32(-1), Int32(-1))
    var (matrix, values) = (a, [Double](repeating: 0, count: Int(n)))
    var (work, integers) = ([0.0], [Int32(0)])
    for _ in 0..<2 {
      dsyevd_("V", "U", &n, &matrix, &n, &values, &work, &size, &integers, &integerSize, &info)
      guard info == 0 else { return nil }
      guard size < 0 else { break }
      (size, integerSize) = (Int32(work[0]), integers[0])
      work = [Double](repeating: 0, count: Int(size))
      integers = [Int32](repeating: 0, count: Int(integerSize))
    }
    return (values, matrix)
  }

  private static func some(
    _ a: [Double], _ order: Int32, _ count: Int32
  ) -> (values: [Double], vectors: [Double])? {
    var (n, info, size, integerSize) = (order, Int32(0), Int32(-1), Int32(-1))
    var (matrix, values) = (a, [Double](repeating: 0, count: Int(n)))
    var vectors = [Double](repeating: 0, count: Int(n) * Int(count))
    var (first, last, found, tolerance, unused) = (n - count + 1, n, Int32(0), 0.0, 0.0)
    var support = [Int32](repeating: 0, count: 2 * Int(n))
    var (work, integers) = ([0.0], [Int32(0)])
    for _ in 0..<2 {
      dsyevr_(
        "V", "I", "U", &n, &matrix, &n, &unused, &unused, &first, &last, &tolerance, &found, &values,
        &vectors, &n, &support, &work, &size, &integers, &integerSize, &info)
      guard info == 0 else { return nil }
      guard size < 0 else { break }
      (size, integerSize) = (Int32(work[0]), integers[0])
      work = [Double](repeating: 0, count: Int(size))
      integers = [Int32](repeating: 0, count: Int(integerSize))
    }
    return found == count ? (values, vectors) : nil
  }

  /// Orthonormal columns that span those of a `[rows, columns]`, `rows >= columns`: the Q of a thin QR with
  /// R's diagonal positive. Row-major in and out. Nil for values that are not finite.
  public static func orthonormalise(_ a: [Double], rows: Int, columns: Int) -> [Double]? {
    precondition(rows >= columns && columns >= 0 && a.count == rows * columns, "orthonormalise: shape")
    guard a.allSatisfy(\.isFinite) else { return nil }
    guard columns > 0 else { return [] }
    var (m, n, info, size) = (Int32(rows), Int32(columns), Int32(0), Int32(columns * 64))
    var matrix = [Double](repeating: 0, count: rows * columns)
    for row in 0..<rows {
      for column in 0..<columns { matrix[column * rows + row] = a[row * columns + column] }
    }
    var tau = [Double](repeating: 0, count: columns)
    var work = [Double](repeating: 0, count: Int(size))
    dgeqrf_(&m, &n, &matrix, &m, &tau, &work, &size, &info)
    guard info == 0 else { return nil }
    let signs = (0..<columns).map { matrix[$0 * rows + $0] < 0 ? -1.0 : 1.0 }
    var k = n
    dorgqr_(&m, &n, &k, &matrix, &m, &tau, &work, &size, &info)
    guard info == 0 else { return nil }
    var result = [Double](repeating: 0, count: rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        result[row * columns + column] = matrix[column * rows + row] * signs[column]
      }
    }
    return result
  }
}
