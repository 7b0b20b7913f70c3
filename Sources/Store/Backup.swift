internal import Foundation
internal import GRDB

extension Store {
  /// Writes a compact, consistent copy of the store to `destination` while it is in use. The copy is whole or
  /// absent: it is written beside its place, flushed to the disk and then moved.
  /// - Throws: ``StoreError/io(code:)`` with `-EEXIST` when the destination exists, ``StoreError/full`` when
  ///   the disk is.
  public func backup(to destination: String) async throws(StoreError) {
    let source = path
    try await Store.offloaded { () throws(StoreError) in
      let partial = destination + ".partial"
      do {
        guard !FileManager.default.fileExists(atPath: destination) else {
          throw StoreError.io(code: -Int(EEXIST))
        }
        try? FileManager.default.removeItem(atPath: partial)
        // A connection of its own: the pool's writer goes on meanwhile.
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(5)
        let queue = try DatabaseQueue(path: source, configuration: configuration)
        defer { try? queue.close() }
        try queue.vacuum(into: partial)
        try flush(partial)
        guard rename(partial, destination) == 0 else { throw StoreError.io(code: -Int(errno)) }
        try flush(URL(filePath: destination).deletingLastPathComponent().path)
      } catch {
        try? FileManager.default.removeItem(atPath: partial)
        throw StoreError(translating: error)
      }
    }
  }
}

/// Waits until a file's or a folder's content is on the disk.
private func flush(_ path: String) throws(StoreError) {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw .io(code: -Int(errno)) }
  defer { close(descriptor) }
  guard fsync(descriptor) == 0 else { throw .io(code: -Int(errno)) }
}
