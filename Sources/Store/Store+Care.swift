internal import Dispatch
internal import Foundation
internal import GRDB

extension Store {
  /// Reads the whole store: SQLite's own check, every version's and subspace's bytes against their digest and length,
  /// every pointer. Changes nothing.
  ///
  /// - Parameter digest: the text `sha256:…` of the bytes; this module knows no hash.
  /// - Returns: what is wrong, in sentences; empty where nothing is.
  public func verify(digest: @escaping @Sendable ([UInt8]) -> String) async throws(StoreError) -> [String] {
    try await read { database in
      var faults = try String.fetchAll(database, sql: "PRAGMA quick_check").filter { $0 != "ok" }
      faults += try Row.fetchAll(database, sql: "PRAGMA foreign_key_check").map {
        "A row of \($0["table"] as String? ?? "a table") refers to nothing."
      }
      let blobs = try Row.fetchCursor(
        database,
        sql: """
          SELECT 'Version ' || task || '@' || version AS name, digest, byte_count, bytes FROM versions
          UNION ALL SELECT 'Subspace ' || id, digest, byte_count, bytes FROM subspaces
          """)
      while let row = try blobs.next() {
        let bytes: Data = row["bytes"]
        if bytes.count != row["byte_count"] as Int || digest([UInt8](bytes)) != row["digest"] as String {
          faults.append("\(row["name"] as String) has other bytes than it says.")
        }
      }
      for (sql, sentence) in Self.rules {
        faults += try String.fetchAll(database, sql: sql).map { "\($0) \(sentence)" }
      }
      return faults
    }
  }

  /// Rules that no foreign key states: a query of those who break one, and what to say of them.
  private static let rules = [
    (
      """
      SELECT 'Task ' || name FROM tasks WHERE active IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM versions WHERE task = tasks.name AND version = tasks.active)
      """, "points to a version that is not there."
    ),
    (
      """
      SELECT 'Task ' || name FROM tasks
      WHERE next_version <= (SELECT max(version) FROM versions WHERE task = tasks.name)
      """, "would give a number twice."
    ),
    (
      """
      SELECT 'Data set ' || id FROM datasets
      WHERE rows <> (SELECT coalesce(sum(rows), 0) FROM dataset_batches WHERE dataset = datasets.id)
      """, "has other rows than it says."
    ),
    (
      """
      SELECT 'Job ' || id FROM jobs WHERE state IN ('queued', 'running', 'paused') AND dataset IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM datasets WHERE id = jobs.dataset AND is_complete = 1)
      """, "has no data set."
    ),
    (
      """
      SELECT 'The default subspace of ' || base FROM default_subspaces d
      WHERE NOT EXISTS (SELECT 1 FROM subspaces s WHERE s.base = d.base AND s.digest = d.digest)
      """, "is not there."
    ),
  ]

  /// A compact, consistent copy of the open store at a new path. It is whole or absent: it is written beside its place,
  /// flushed to the disk and then moved.
  ///
  /// - Throws: `.io` with `EEXIST` where there is a file; `.full`.
  public func backup(to destination: String) async throws(StoreError) {
    let source = path
    let result: Result<Void, StoreError> = await withCheckedContinuation { continuation in
      DispatchQueue.global().async {
        continuation.resume(
          returning: Result { try Self.copy(source, to: destination) }.mapError { StoreError($0) })
      }
    }
    try result.get()
  }

  private static func copy(_ source: String, to destination: String) throws {
    guard !FileManager.default.fileExists(atPath: destination) else {
      throw StoreError.io(code: EEXIST, detail: "the backup's file exists")
    }
    let partial = destination + ".partial"
    try? FileManager.default.removeItem(atPath: partial)
    defer { try? FileManager.default.removeItem(atPath: partial) }
    // A connection of its own: writes go on meanwhile.
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(10)
    let queue = try DatabaseQueue(path: source, configuration: configuration)
    defer { try? queue.close() }
    try queue.vacuum(into: partial)
    try flush(partial)
    guard rename(partial, destination) == 0 else {
      throw StoreError.io(code: errno, detail: "the backup cannot be moved to its place")
    }
    try flush(URL(filePath: destination).deletingLastPathComponent().path)
  }

  /// Waits until a file's or a folder's content is on the disk.
  private static func flush(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StoreError.io(code: errno, detail: "a file cannot be opened") }
    defer { Foundation.close(descriptor) }
    guard fsync(descriptor) == 0 else { throw StoreError.io(code: errno, detail: "a file cannot be flushed") }
  }
}
