internal import CKernels
internal import COpenBLAS

/// Which kernels this process runs.
public enum Kernels {
  /// "avx512bf16", "avx512vnni", "avx512", "avx2" or "scalar": the best that this processor has, chosen once.
  public static var instructionSet: String { String(cString: table.name) }

  /// The chosen kernels.
  static var table: ck_kernels { ck_best().pointee }
}

/// The linear algebra library's threads.
public enum BLAS {
  /// Makes every library call stay on its caller's thread. Called once at start-up, before any lane runs.
  public static func useOneThread() {
    openblas_set_num_threads(1)
  }
}
