#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// An exclusive lock on a file, held until the value goes or the process ends.
final class FileLock: Sendable {
  private let descriptor: Int32

  init(path: String, store: String) throws(StoreError) {
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .io(code: errno, detail: "the lock file cannot be opened") }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(descriptor)
      throw .locked(path: store)
    }
  }

  deinit { close(descriptor) }
}
