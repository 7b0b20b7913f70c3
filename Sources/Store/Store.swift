internal import Foundation
internal import GRDB

/// The one database file of a daemon: subspaces, tasks and their versions, data sets, jobs. SQLite in WAL mode with
/// `synchronous=FULL`: what a method has returned survives a crash and a power cut.
///
/// It speaks of names, digests, JSON text and bytes, and knows nothing of what they mean. One process at a time: a
/// sibling file `<path>.lock` is locked while the store is open.
public final class Store: Sendable {
  let pool: DatabasePool
  let now: @Sendable () -> Int64
  let makeID: @Sendable (_ prefix: String) -> String
  let faults: @Sendable (FaultPoint) -> Void
  private let lock: FileLock

  /// Opens the store, making it where there is none. Uploads that never ended are gone; jobs that ran are queued again.
  ///
  /// - Parameters:
  ///   - now: milliseconds since 1970.
  ///   - makeID: a fresh id with the given prefix, such as `job_`.
  ///   - faults: called at every named point of a commit, for crash tests.
  /// - Throws: `.locked`, `.foreignFile`, `.newerSchema`, `.corrupt`, `.io`.
  public init(
    path: String, now: @escaping @Sendable () -> Int64, makeID: @escaping @Sendable (String) -> String,
    faults: @escaping @Sendable (FaultPoint) -> Void = { _ in }
  ) throws(StoreError) {
    lock = try FileLock(path: path + ".lock", store: path)
    self.now = now
    self.makeID = makeID
    self.faults = faults
    do {
      var configuration = Configuration()
      configuration.busyMode = .timeout(10)
      configuration.maximumReaderCount = 4
      configuration.prepareDatabase { database in
        try database.execute(sql: "PRAGMA synchronous = FULL; PRAGMA mmap_size = 268435456")
      }
      pool = try DatabasePool(path: path, configuration: configuration)
      try Self.checkHeader(pool, path: path)
      try Schema.migrator.migrate(pool)
      try pool.write { database in
        try database.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
        try database.execute(sql: "DELETE FROM datasets WHERE is_complete = 0")
        try database.execute(sql: "UPDATE jobs SET state = 'queued' WHERE state = 'running'")
      }
    } catch {
      throw StoreError(error)
    }
  }

  /// Closes the file. Later calls throw.
  public func close() throws(StoreError) {
    do { try pool.close() } catch { throw StoreError(error) }
  }

  /// SQLite's own check, then every version's digest through `digest`, and every pointer.
  ///
  /// - Returns: what is wrong, in sentences; empty where nothing is.
  public func verify(digest: @escaping @Sendable ([UInt8]) -> String) async throws(StoreError) -> [String] {
    try await read { database in
      var faults = try String.fetchAll(database, sql: "PRAGMA quick_check").filter { $0 != "ok" }
      let versions = try Row.fetchCursor(
        database, sql: "SELECT task, version, digest, bytes FROM versions ORDER BY task, version")
      while let row = try versions.next() {
        let bytes: Data = row["bytes"]
        if digest([UInt8](bytes)) != row["digest"] as String {
          faults.append(
            "Version \(row["task"] as String)@\(row["version"] as Int) has other bytes than it says.")
        }
      }
      let dangling = try String.fetchAll(
        database,
        sql: """
          SELECT name FROM tasks WHERE active IS NOT NULL AND NOT EXISTS
            (SELECT 1 FROM versions WHERE task = tasks.name AND version = tasks.active)
          """)
      return faults + dangling.map { "Task \($0) points to a version that is not there." }
    }
  }

  /// A consistent copy of the open store, to a new file.
  public func backup(to path: String) throws(StoreError) {
    do {
      let target = try DatabaseQueue(path: path)
      try pool.backup(to: target)
      try target.close()
    } catch {
      throw StoreError(error)
    }
  }

  func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws(StoreError) -> T {
    do { return try await pool.read(body) } catch { throw StoreError(error) }
  }

  /// One transaction: all or nothing, durable on return.
  func write<T: Sendable>(
    _ point: FaultPoint.Commit? = nil, _ body: @escaping @Sendable (Database) throws -> T
  ) async throws(StoreError) -> T {
    do {
      let faults = faults
      let result = try await pool.write { database in
        let result = try body(database)
        if let point { faults(.before(point)) }
        return result
      }
      if let point { faults(.after(point)) }
      return result
    } catch {
      throw StoreError(error)
    }
  }

  private static func checkHeader(_ pool: DatabasePool, path: String) throws {
    let (id, isEmpty) = try pool.read { database in
      (
        try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0,
        try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") == 0
      )
    }
    guard id == Schema.applicationID || (id == 0 && isEmpty) else { throw StoreError.foreignFile(path: path) }
    let isNewer = try pool.read { try Schema.migrator.hasBeenSuperseded($0) }
    guard !isNewer else { throw StoreError.newerSchema(path: path) }
  }
}

/// A named moment of a commit at which a crash test may end the process.
public enum FaultPoint: Sendable, Hashable, CustomStringConvertible {
  public enum Commit: String, Sendable, CaseIterable {
    case publish, checkpoint, event, transition, dataset, job, activate
  }

  case before(Commit)
  case after(Commit)

  /// `publish.before-commit`
  public var description: String {
    switch self {
    case .before(let commit): "\(commit.rawValue).before-commit"
    case .after(let commit): "\(commit.rawValue).after-commit"
    }
  }
}

extension StoreError {
  /// Wraps what GRDB and SQLite throw; our own errors pass through.
  init(_ error: any Error) {
    if let error = error as? StoreError {
      self = error
      return
    }
    guard let error = error as? DatabaseError else {
      self = .io(code: 0, detail: "\(error)")
      return
    }
    switch error.resultCode {
    case .SQLITE_CORRUPT: self = .corrupt(error.message ?? "malformed")
    case .SQLITE_NOTADB: self = .corrupt("not a database")
    case .SQLITE_FULL: self = .full
    case .SQLITE_READONLY: self = .readOnly
    default: self = .io(code: error.extendedResultCode.rawValue, detail: error.message ?? "")
    }
  }
}
