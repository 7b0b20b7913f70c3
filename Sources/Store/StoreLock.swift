#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The exclusive lock of one daemon on one store: `flock` on a file beside it, released when the process dies.
///
/// SQLite's own locks are not used for this: they are held for a transaction, not for a lifetime.
final class StoreLock: Sendable {
  private let descriptor: Int32

  /// Takes the lock of the store at `path` (already canonical) or throws ``StoreError/locked``.
  init(store path: String) throws(StoreError) {
    descriptor = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      let code = errno
      throw code == EACCES || code == EROFS ? .readOnly : .io(code: -Int(code))
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      close(descriptor)
      throw code == EWOULDBLOCK ? .locked : .io(code: -Int(code))
    }
  }

  deinit { close(descriptor) }

  /// The path with symbolic links resolved, so that two names of one store share one lock.
  static func canonicalPath(_ path: String) throws(StoreError) -> String {
    if let resolved = resolve(path) { return resolved }
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    guard !name.isEmpty, let resolved = resolve(folder) else { throw .io(code: -Int(ENOENT)) }
    return resolved == "/" ? "/" + name : resolved + "/" + name
  }

  private static func resolve(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
