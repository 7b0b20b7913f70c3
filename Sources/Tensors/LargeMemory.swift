#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Uninitialised memory of many megabytes that is read over and over: in pages of 2 MB where the system has them, since
/// a stride through small ones waits for their addresses. What is never touched takes no memory, up to such a page.
public final class LargeMemory {
  private static let alignment = 2 << 20

  public let base: UnsafeMutableRawPointer

  public init(bytes: Int) {
    base = .allocate(byteCount: max(bytes, 1), alignment: Self.alignment)
    #if os(Linux)
      // Advice: where it is not taken, all is as without.
      madvise(base, bytes, MADV_HUGEPAGE)
    #endif
  }

  deinit { base.deallocate() }
}
