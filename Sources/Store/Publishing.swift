internal import Foundation
internal import GRDB

extension Store {
  /// Entries of a task's activation history that are kept for rollback.
  static let historyLimit = 64

  /// Stores a version and, when asked, makes it the active one, in one durable transaction. The task is made
  /// by its first version. Numbers start at 1 and are never given twice under one name, not even after the
  /// task was deleted.
  /// - Returns: the version's number.
  /// - Throws: ``StoreError/conflict(active:)``, ``StoreError/kindConflict(actual:)``,
  ///   ``StoreError/notFound(_:id:)`` for its subspace or job, ``StoreError/jobState(state:)``.
  public func publish(_ new: NewVersion) async throws(StoreError) -> Int {
    guard !new.task.isEmpty else { throw .invalid(field: "task") }
    let options = options
    return try await write(before: .publishBeforeCommit, after: .publishAfterCommit) { db in
      if let job = new.jobID, let earlier = try Store.publishedVersion(db, job: job) { return earlier }
      let now = options.now()
      let version = try Store.reserveVersion(db, new, now: now)
      if let subspace = new.subspace, try Store.subspaceRow(db, digest: subspace) == nil {
        throw StoreError.notFound(.subspace, id: subspace)
      }
      try db.execute(
        sql: """
          INSERT INTO versions (task, version, digest, base, subspace, method, rank, metrics, labels,
            settings, bytes_count, job, created_by, created_at)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          new.task, version, new.digest, new.base, new.subspace, new.method, new.rank, new.metricsJSON,
          new.labelsJSON, new.settingsJSON, new.bytes.count, new.jobID, new.createdBy, now,
        ])
      try db.execute(
        sql: "INSERT INTO version_bytes (task, version, bytes) VALUES (?, ?, ?)",
        arguments: [new.task, version, Data(new.bytes)])
      try db.execute(
        sql:
          "UPDATE tasks SET version_count = version_count + 1, bytes_count = bytes_count + ? WHERE name = ?",
        arguments: [new.bytes.count, new.task])
      if new.activate { try Store.moveActive(db, new.task, to: version, by: new.createdBy, now: now) }
      if let job = new.jobID {
        let result = JobResult(version: version, metricsJSON: new.metricsJSON)
        try Store.completeJob(db, job, result: result, by: new.createdBy, options: options)
      }
      return version
    }
  }

  /// Makes `version` the active one if `expected` holds.
  /// - Throws: ``StoreError/conflict(active:)``, ``StoreError/notFound(_:id:)``.
  public func activate(
    task: String, version: Int, expected: ExpectedActive = .any, createdBy: String
  ) async throws(StoreError) -> TaskRecord {
    let options = options
    return try await write(before: .publishBeforeCommit, after: .publishAfterCommit) { db in
      guard let row = try Store.taskRow(db, task) else { throw StoreError.notFound(.task, id: task) }
      try Store.check(expected, active: row["active_version"])
      guard try Store.versionRow(db, task, version) != nil else {
        throw StoreError.notFound(.version, id: "\(task)@\(version)")
      }
      if row["active_version"] != version {
        try Store.moveActive(db, task, to: version, by: createdBy, now: options.now())
      }
      return try Store.taskRecord(db, task)
    }
  }

  /// Makes the version that was active before the active one the active one again; repeated, it goes further
  /// back. Versions deleted since are passed over.
  /// - Throws: ``StoreError/nothingToRollBack(task:)``, ``StoreError/conflict(active:)``.
  public func rollback(
    task: String, expected: ExpectedActive = .any, createdBy: String
  ) async throws(StoreError) -> TaskRecord {
    let options = options
    return try await write(before: .publishBeforeCommit, after: .publishAfterCommit) { db in
      guard let row = try Store.taskRow(db, task) else { throw StoreError.notFound(.task, id: task) }
      let active: Int? = row["active_version"]
      try Store.check(expected, active: active)
      let previous = try Row.fetchOne(
        db,
        sql: """
          SELECT sequence, version FROM activations WHERE task = ? AND version IS NOT ?
          ORDER BY sequence DESC LIMIT 1
          """, arguments: [task, active])
      guard let previous else { throw StoreError.nothingToRollBack(task: task) }
      // What stood above it is undone, so that the next rollback goes further back.
      try db.execute(
        sql: "DELETE FROM activations WHERE task = ? AND sequence > ?",
        arguments: [task, previous["sequence"] as Int64])
      try Store.setActive(db, task, previous["version"], now: options.now())
      return try Store.taskRecord(db, task)
    }
  }

  // MARK: - Inside a transaction

  /// Makes or revives the task's row and takes the next number from it.
  private static func reserveVersion(_ db: Database, _ new: NewVersion, now: Int64) throws -> Int {
    let row = try Row.fetchOne(db, sql: "SELECT * FROM tasks WHERE name = ?", arguments: [new.task])
    guard let row, row["deleted_at"] == nil else {
      try check(new.expectedActive, active: nil)
      try db.execute(
        sql: """
          INSERT INTO tasks (name, kind, base, last_version, version_count, bytes_count, created_by,
            created_at, updated_at)
          VALUES (?, ?, ?, 1, 0, 0, ?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, base = excluded.base,
            last_version = last_version + 1, pinned = 0, created_by = excluded.created_by,
            created_at = excluded.created_at, updated_at = excluded.updated_at, deleted_at = NULL
          """, arguments: [new.task, new.kind, new.base, new.createdBy, now, now])
      return (row?["last_version"] as Int? ?? 0) + 1
    }
    let kind: String = row["kind"]
    guard kind == new.kind else { throw StoreError.kindConflict(actual: kind) }
    try check(new.expectedActive, active: row["active_version"])
    try db.execute(
      sql: "UPDATE tasks SET last_version = last_version + 1, updated_at = ? WHERE name = ?",
      arguments: [now, new.task])
    return (row["last_version"] as Int) + 1
  }

  private static func check(_ expected: ExpectedActive, active: Int?) throws {
    if case .exactly(let version) = expected, version != active {
      throw StoreError.conflict(active: active)
    }
  }

  private static func moveActive(
    _ db: Database, _ task: String, to version: Int, by: String, now: Int64
  ) throws {
    try db.execute(
      sql: """
        INSERT INTO activations (task, sequence, version, created_by, created_at)
        SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4 FROM activations WHERE task = ?1
        """, arguments: [task, version, by, now])
    try db.execute(
      sql: """
        DELETE FROM activations WHERE task = ?1
          AND sequence <= (SELECT max(sequence) FROM activations WHERE task = ?1) - ?2
        """, arguments: [task, historyLimit])
    try setActive(db, task, version, now: now)
  }

  private static func setActive(_ db: Database, _ task: String, _ version: Int, now: Int64) throws {
    try db.execute(
      sql: """
        UPDATE tasks SET active_version = ?2, updated_at = ?3,
          base = (SELECT base FROM versions WHERE task = ?1 AND version = ?2)
        WHERE name = ?1
        """, arguments: [task, version, now])
  }
}
