internal import CKernels

/// Products of matrices that are not worth packing. A value's reduction is cut at fixed places in k, so a
/// row's bits do not depend on how many rows there are. C must not overlap A or B.
public enum Products {
  /// C = scale·A·Bᵀ or C += it.   a `[m, k]`, b `[n, k]`, c `[m, n]`.
  public static func nt(
    _ a: MatrixView, _ b: MatrixView, scale: Float = 1, accumulate: Bool = false, into c: MatrixView
  ) {
    precondition(a.columns == b.columns && c.rows == a.rows && c.columns == b.rows, "product nt: shapes")
    var call = product(a, b, k: a.columns, scale, accumulate, c)
    Kernels.table.product_nt(&call)
  }

  /// C = scale·A·B or C += it.   a `[m, k]`, b `[k, n]`, c `[m, n]`.
  public static func nn(
    _ a: MatrixView, _ b: MatrixView, scale: Float = 1, accumulate: Bool = false, into c: MatrixView
  ) {
    precondition(a.columns == b.rows && c.rows == a.rows && c.columns == b.columns, "product nn: shapes")
    var call = product(a, b, k: a.columns, scale, accumulate, c)
    Kernels.table.product_nn(&call)
  }

  /// C = A·B where 16 values can be read from every 16th column of b's rows on: b is read as it lies, which spares few
  /// rows of A more than the product costs. The bits of the other products.   a `[m, k]`, b `[k, n]`, c `[m, n]`.
  public static func nn(_ a: MatrixView, padded b: MatrixView, into c: MatrixView) {
    precondition(a.columns == b.rows && c.rows == a.rows && c.columns == b.columns, "product nn: shapes")
    var call = product(a, b, k: a.columns, 1, false, c)
    call.padded = 1
    Kernels.table.product_nn(&call)
  }

  /// C = scale·Aᵀ·B or C += it.   a `[k, m]`, b `[k, n]`, c `[m, n]`.
  public static func tn(
    _ a: MatrixView, _ b: MatrixView, scale: Float = 1, accumulate: Bool = false, into c: MatrixView
  ) {
    precondition(a.rows == b.rows && c.rows == a.columns && c.columns == b.columns, "product tn: shapes")
    var call = product(a, b, k: a.rows, scale, accumulate, c)
    Kernels.table.product_tn(&call)
  }

  private static func product(
    _ a: MatrixView, _ b: MatrixView, k: Int, _ scale: Float, _ accumulate: Bool, _ c: MatrixView
  ) -> ck_product {
    ck_product(
      a: a.base, aStride: a.stride, b: b.base, bStride: b.stride, m: c.rows, n: c.columns, k: k,
      c: c.base, cStride: c.stride, scale: scale, accumulate: accumulate ? 1 : 0, padded: 0)
  }
}
