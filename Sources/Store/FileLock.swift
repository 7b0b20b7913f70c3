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

  /// `path` with symbolic links resolved; as it is where neither it nor its folder exists.
  static func canonicalPath(_ path: String) -> String {
    if let resolved = resolve(path) { return resolved }
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let name = slash.map { path[path.index(after: $0)...] } ?? path[...]
    guard let resolved = resolve(folder) else { return path }
    return resolved == "/" ? "/\(name)" : "\(resolved)/\(name)"
  }

  private static func resolve(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
