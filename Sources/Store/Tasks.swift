internal import GRDB

/// A task with its active version.
public struct TaskRecord: Sendable, Equatable {
  public let name: String
  public let kind: String
  /// Digest of the base of the active version (or of the first, when none was activated).
  public let base: String
  /// What answers now; nil when nothing was activated.
  public let active: VersionRecord?
  /// The largest number given so far, deleted ones included.
  public let lastVersion: Int
  public let versionCount: Int
  /// Stored bytes of all its versions.
  public let bytesCount: Int
  public let isPinned: Bool
  public let createdBy: String
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64
  public let updatedAt: Int64

  init(_ row: Row, active: VersionRecord?) {
    name = row["name"]
    kind = row["kind"]
    base = row["base"]
    self.active = active
    lastVersion = row["last_version"]
    versionCount = row["version_count"]
    bytesCount = row["bytes_count"]
    isPinned = row["pinned"]
    createdBy = row["created_by"]
    createdAt = row["created_at"]
    updatedAt = row["updated_at"]
  }
}

extension Store {
  /// The page of a listing by name. One index range, whatever the number of tasks.
  static let taskPageSQL =
    "SELECT * FROM tasks WHERE deleted_at IS NULL AND name > ? ORDER BY name LIMIT ?"

  /// By name in byte order; `after` is the last name seen.
  public func tasks(limit: Int, after: String? = nil) async throws(StoreError) -> [TaskRecord] {
    try await read { db in
      try Row.fetchAll(db, sql: Store.taskPageSQL, arguments: [after ?? "", limit])
        .map { try Store.taskRecord(db, $0) }
    }
  }

  /// One task, or ``StoreError/notFound(_:id:)``.
  public func task(_ name: String) async throws(StoreError) -> TaskRecord {
    try await read { db in try Store.taskRecord(db, name) }
  }

  /// Marks a task to stay in memory, or not.
  public func setPinned(_ isPinned: Bool, task: String) async throws(StoreError) -> TaskRecord {
    let options = options
    return try await write { db in
      try db.execute(
        sql: "UPDATE tasks SET pinned = ?, updated_at = ? WHERE name = ? AND deleted_at IS NULL",
        arguments: [isPinned, options.now(), task])
      return try Store.taskRecord(db, task)
    }
  }

  /// Removes a task with its versions and history. Its name may be used again; its numbers go on.
  /// - Throws: ``StoreError/inUse(_:id:by:)`` when a queued, running or paused job trains it.
  public func deleteTask(_ name: String) async throws(StoreError) {
    let options = options
    try await write { db in
      guard try Store.taskRow(db, name) != nil else { throw StoreError.notFound(.task, id: name) }
      let job = try String.fetchOne(
        db,
        sql: """
          SELECT id FROM jobs WHERE task = ? AND state IN ('queued', 'running', 'paused') LIMIT 1
          """, arguments: [name])
      if let job { throw StoreError.inUse(.task, id: name, by: job) }
      try db.execute(
        sql: """
          UPDATE tasks SET active_version = NULL, version_count = 0, bytes_count = 0, pinned = 0,
            updated_at = ?1, deleted_at = ?1
          WHERE name = ?2
          """, arguments: [options.now(), name])
      try db.execute(sql: "DELETE FROM versions WHERE task = ?", arguments: [name])
    }
  }

  // MARK: - Inside a transaction

  static func taskRow(_ db: Database, _ name: String) throws -> Row? {
    try Row.fetchOne(
      db, sql: "SELECT * FROM tasks WHERE name = ? AND deleted_at IS NULL", arguments: [name])
  }

  static func taskRecord(_ db: Database, _ name: String) throws -> TaskRecord {
    guard let row = try taskRow(db, name) else { throw StoreError.notFound(.task, id: name) }
    return try taskRecord(db, row)
  }

  private static func taskRecord(_ db: Database, _ row: Row) throws -> TaskRecord {
    let active: Int? = row["active_version"]
    let version = try active.flatMap { try versionRow(db, row["name"], $0) }
    return TaskRecord(row, active: version.map(VersionRecord.init))
  }
}
