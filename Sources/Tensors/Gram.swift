internal import COpenBLAS

/// Sums of M·Mᵀ in double, whatever the number and the length of the matrices.
public enum Gram {
  /// Columns turned to double at a time.
  private static let chunk = 256

  /// C += scale·M·Mᵀ.   m `[n, k]`, c `[n, n]` row-major, both triangles.
  public static func accumulate(_ m: MatrixView, scale: Double, into c: inout [Double]) {
    let n = m.rows
    precondition(c.count == n * n, "gram: shape")
    guard n > 0, m.columns > 0 else { return }
    var doubles = [Double](repeating: 0, count: n * min(chunk, m.columns))
    for start in stride(from: 0, to: m.columns, by: chunk) {
      let width = min(chunk, m.columns - start)
      for row in 0..<n {
        let source = m.row(row) + start
        for column in 0..<width { doubles[row * width + column] = Double(source[column]) }
      }
      cblas_dsyrk(
        CblasRowMajor, CblasLower, CblasNoTrans, Int32(n), Int32(width), scale, doubles, Int32(width), 1,
        &c, Int32(n))
    }
    for row in 0..<n {
      for column in 0..<row { c[column * n + row] = c[row * n + column] }
    }
  }
}
