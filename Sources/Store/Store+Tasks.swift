internal import Foundation
internal import GRDB

/// A version to publish.
public struct NewVersion: Sendable {
  public var task: String
  public var kind: String
  /// JSON array of the labels.
  public var labels: String
  public var digest: String
  public var base: String
  public var subspace: String?
  public var method: String
  public var rank: Int
  public var alpha: Double
  /// JSON array of site names.
  public var sites: String
  public var metrics: String
  public var job: String?
  public var bytes: [UInt8]
  public var createdBy: String

  public init(
    task: String, kind: String, labels: String, digest: String, base: String, subspace: String?,
    method: String,
    rank: Int, alpha: Double, sites: String, metrics: String, job: String?, bytes: [UInt8], createdBy: String
  ) {
    self.task = task
    self.kind = kind
    self.labels = labels
    self.digest = digest
    self.base = base
    self.subspace = subspace
    self.method = method
    self.rank = rank
    self.alpha = alpha
    self.sites = sites
    self.metrics = metrics
    self.job = job
    self.bytes = bytes
    self.createdBy = createdBy
  }
}

/// A version without its bytes.
public struct VersionRecord: Sendable, Equatable {
  public let task: String
  public let version: Int
  public let digest: String
  public let base: String
  public let subspace: String?
  public let method: String
  public let rank: Int
  public let alpha: Double
  public let sites: String
  public let metrics: String
  public let job: String?
  public let byteCount: Int
  /// Milliseconds since 1970.
  public let createdAt: Int64
  public let createdBy: String

  static let columns = """
    task, version, digest, base, subspace, method, rank, alpha, sites, metrics, job, byte_count, created_at,
    created_by
    """

  init(row: Row) {
    task = row["task"]
    version = row["version"]
    digest = row["digest"]
    base = row["base"]
    subspace = row["subspace"]
    method = row["method"]
    rank = row["rank"]
    alpha = row["alpha"]
    sites = row["sites"]
    metrics = row["metrics"]
    job = row["job"]
    byteCount = row["byte_count"]
    createdAt = row["created_at"]
    createdBy = row["created_by"]
  }
}

/// A task with its active version.
public struct TaskRecord: Sendable, Equatable {
  public let name: String
  public let kind: String
  public let labels: String
  public let active: VersionRecord?
  public let versionCount: Int
  public let byteCount: Int
  public let createdAt: Int64
  public let createdBy: String
}

/// When a publish moves the pointer.
public enum PublishActivation: Sendable, Equatable {
  case always
  case never
  /// Only while this version is the active one; the version is stored in any case.
  case ifActive(Int?)
}

extension Store {
  /// Inserts a version, moves the pointer and, where a job made it, ends that job: one transaction.
  ///
  /// - Parameter onCommit: called between this commit and the next one, so that what follows it in memory has the
  ///   order of the commits.
  /// - Returns: the version's number, never used before for that name, and whether it is active.
  /// - Throws: `.kindMismatch` where the task is of another kind; `.jobState` where the job is not running.
  public func publish(
    _ new: NewVersion, activation: PublishActivation, finalEvent: String? = nil,
    onCommit: @escaping @Sendable (_ version: Int, _ isActive: Bool) -> Void = { _, _ in }
  ) async throws(StoreError) -> (version: Int, isActive: Bool) {
    let at = now()
    return try await write(.publish) { database in
      let task = try Row.fetchOne(database, sql: "SELECT * FROM tasks WHERE name = ?", arguments: [new.task])
      let isLive = task.map { !($0["is_deleted"] as Bool) } ?? false
      if isLive, let kind = task?["kind"] as String?, kind != new.kind {
        throw StoreError.kindMismatch(task: new.task, kind: kind)
      }
      let version = task?["next_version"] as Int? ?? 1
      try database.execute(
        sql: """
          INSERT INTO tasks (name, kind, labels, active, next_version, created_at, created_by)
          VALUES (?, ?, ?, NULL, ?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, next_version = excluded.next_version,
            created_at = CASE is_deleted WHEN 1 THEN excluded.created_at ELSE created_at END,
            created_by = CASE is_deleted WHEN 1 THEN excluded.created_by ELSE created_by END,
            labels = CASE is_deleted WHEN 1 THEN excluded.labels ELSE labels END, is_deleted = 0
          """, arguments: [new.task, new.kind, new.labels, version + 1, at, new.createdBy])
      try database.execute(
        sql: """
          INSERT INTO versions (\(VersionRecord.columns), labels, bytes)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          new.task, version, new.digest, new.base, new.subspace, new.method, new.rank, new.alpha, new.sites,
          new.metrics, new.job, new.bytes.count, at, new.createdBy, new.labels, Data(new.bytes),
        ])
      let active = isLive ? task?["active"] as Int? : nil
      let moves =
        switch activation {
        case .always: true
        case .never: false
        case .ifActive(let expected): expected == active
        }
      if moves { try Self.point(database, new.task, version, at: at, by: new.createdBy) }
      if let job = new.job {
        try database.execute(
          sql: """
            UPDATE jobs SET state = 'succeeded', version = ?, progress = 1, seconds_left = 0, metrics = ?,
              finished_at = ? WHERE id = ? AND state = 'running'
            """, arguments: [version, new.metrics, at, job])
        guard database.changesCount == 1 else { throw StoreError.jobState("not running") }
        try Self.forgetWork(database, job)
        if let finalEvent {
          try Self.append(
            database, job, "state", finalEvent.replacing("$version", with: String(version)), at: at)
        }
      }
      database.afterNextTransaction { _ in onCommit(version, moves) }
      return (version, moves)
    }
  }

  /// Moves the pointer. Durable when it returns.
  ///
  /// - Throws: `.notFound`; `.versionConflict` where `expected` is given and not the active version.
  public func activate(
    task: String, version: Int, expected: Int?, by: String,
    onCommit: @escaping @Sendable () -> Void = {}
  ) async throws(StoreError) {
    let at = now()
    try await write(.activate) { database in
      let record = try Self.record(database, task)
      if let expected, record.active?.version != expected {
        throw StoreError.versionConflict(active: record.active?.version)
      }
      guard try Self.exists(database, task, version) else {
        throw StoreError.notFound(.version, id: "\(task)@\(version)")
      }
      try Self.point(database, task, version, at: at, by: by)
      database.afterNextTransaction { _ in onCommit() }
    }
  }

  /// Moves the pointer back to the version that was active before.
  ///
  /// - Returns: the version that is active now.
  /// - Throws: `.versionConflict` where there is none before.
  public func rollback(
    task: String, onCommit: @escaping @Sendable (VersionRecord) -> Void = { _ in }
  ) async throws(StoreError) -> Int {
    try await write(.activate) { database in
      let record = try Self.record(database, task)
      let previous = try Row.fetchOne(
        database,
        sql: """
          SELECT id, version FROM activations a WHERE task = ? AND version <> ? AND EXISTS
            (SELECT 1 FROM versions v WHERE v.task = a.task AND v.version = a.version)
          ORDER BY id DESC LIMIT 1
          """, arguments: [task, record.active?.version ?? -1])
      guard let previous else { throw StoreError.versionConflict(active: record.active?.version) }
      let version: Int = previous["version"]
      try database.execute(
        sql: "DELETE FROM activations WHERE task = ? AND id > ?", arguments: [task, previous["id"] as Int64])
      try Self.setActive(database, task, version)
      if let record = try Self.record(database, task).active {
        database.afterNextTransaction { _ in onCommit(record) }
      }
      return version
    }
  }

  /// Removes a task and all its versions. Its numbers are not used again.
  ///
  /// - Throws: `.inUse` while a job that has not ended would publish to it: the task would come back.
  public func deleteTask(
    _ name: String, onCommit: @escaping @Sendable () -> Void = {}
  ) async throws(StoreError) {
    try await write { database in
      _ = try Self.record(database, name)
      let job = try String.fetchOne(
        database,
        sql: "SELECT id FROM jobs WHERE task = ? AND state IN ('queued', 'running', 'paused') LIMIT 1",
        arguments: [name])
      if let job { throw StoreError.inUse("job \(job)") }
      try database.execute(sql: "DELETE FROM versions WHERE task = ?", arguments: [name])
      try database.execute(sql: "DELETE FROM activations WHERE task = ?", arguments: [name])
      try database.execute(
        sql: "UPDATE tasks SET is_deleted = 1, active = NULL WHERE name = ?", arguments: [name])
      database.afterNextTransaction { _ in onCommit() }
    }
  }

  /// - Throws: `.inUse` for the active version.
  public func deleteVersion(_ version: Int, of task: String) async throws(StoreError) {
    try await write { database in
      let record = try Self.record(database, task)
      if record.active?.version == version { throw StoreError.inUse("\(task)@\(version) is active") }
      try database.execute(
        sql: "DELETE FROM versions WHERE task = ? AND version = ?", arguments: [task, version])
      guard database.changesCount == 1 else { throw StoreError.notFound(.version, id: "\(task)@\(version)") }
      try database.execute(
        sql: "DELETE FROM activations WHERE task = ? AND version = ?", arguments: [task, version])
    }
  }

  public func task(_ name: String) async throws(StoreError) -> TaskRecord {
    try await read { try Self.record($0, name) }
  }

  /// Tasks in byte order of their names, after `after`.
  public func tasks(after: String?, limit: Int) async throws(StoreError) -> [TaskRecord] {
    try await read { database in
      try String.fetchAll(
        database, sql: "SELECT name FROM tasks WHERE name > ? AND is_deleted = 0 ORDER BY name LIMIT ?",
        arguments: [after ?? "", limit]
      ).map { try Self.record(database, $0) }
    }
  }

  /// Every task's active version: what a daemon reads once, at its start.
  public func activeVersions() async throws(StoreError) -> [(kind: String, version: VersionRecord)] {
    try await read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT tasks.kind AS task_kind, versions.task, versions.version, digest, base, subspace, method, rank,
            alpha, sites, metrics, job, byte_count, versions.created_at, versions.created_by
          FROM tasks JOIN versions ON versions.task = tasks.name AND versions.version = tasks.active
          """
      ).map { ($0["task_kind"], VersionRecord(row: $0)) }
    }
  }

  public func version(_ version: Int, of task: String) async throws(StoreError) -> VersionRecord {
    try await read { database in
      _ = try Self.record(database, task)
      let row = try Row.fetchOne(
        database, sql: "SELECT \(VersionRecord.columns) FROM versions WHERE task = ? AND version = ?",
        arguments: [task, version])
      guard let row else { throw StoreError.notFound(.version, id: "\(task)@\(version)") }
      return VersionRecord(row: row)
    }
  }

  public func versions(of task: String) async throws(StoreError) -> [VersionRecord] {
    try await read { database in
      _ = try Self.record(database, task)
      return try Row.fetchAll(
        database, sql: "SELECT \(VersionRecord.columns) FROM versions WHERE task = ? ORDER BY version",
        arguments: [task]
      ).map(VersionRecord.init)
    }
  }

  public func versionBytes(_ version: Int, of task: String) async throws(StoreError) -> [UInt8] {
    try await read { database in
      let bytes = try Data.fetchOne(
        database, sql: "SELECT bytes FROM versions WHERE task = ? AND version = ?",
        arguments: [task, version])
      guard let bytes else { throw StoreError.notFound(.version, id: "\(task)@\(version)") }
      return [UInt8](bytes)
    }
  }

  public func taskCount() async throws(StoreError) -> Int {
    try await read { try Int.fetchOne($0, sql: "SELECT count(*) FROM tasks WHERE is_deleted = 0") ?? 0 }
  }

  private static func exists(_ database: Database, _ task: String, _ version: Int) throws -> Bool {
    try Bool.fetchOne(
      database, sql: "SELECT EXISTS (SELECT 1 FROM versions WHERE task = ? AND version = ?)",
      arguments: [task, version]) ?? false
  }

  /// The task's labels become the version's, where those are known.
  private static func setActive(_ database: Database, _ task: String, _ version: Int) throws {
    try database.execute(
      sql: """
        UPDATE tasks SET active = :version, labels =
          coalesce((SELECT labels FROM versions WHERE task = :task AND version = :version), labels)
        WHERE name = :task
        """, arguments: ["task": task, "version": version])
  }

  private static func point(
    _ database: Database, _ task: String, _ version: Int, at: Int64, by: String
  ) throws {
    try setActive(database, task, version)
    try database.execute(
      sql: "INSERT INTO activations (task, version, at, by) VALUES (?, ?, ?, ?)",
      arguments: [task, version, at, by])
  }

  private static func record(_ database: Database, _ name: String) throws -> TaskRecord {
    let row = try Row.fetchOne(
      database, sql: "SELECT * FROM tasks WHERE name = ? AND is_deleted = 0", arguments: [name])
    guard let row else { throw StoreError.notFound(.task, id: name) }
    let active = try Row.fetchOne(
      database, sql: "SELECT \(VersionRecord.columns) FROM versions WHERE task = ? AND version = ?",
      arguments: [name, row["active"] as Int?])
    let sums = try Row.fetchOne(
      database, sql: "SELECT count(*) AS n, coalesce(sum(byte_count), 0) AS b FROM versions WHERE task = ?",
      arguments: [name])
    return TaskRecord(
      name: name, kind: row["kind"], labels: row["labels"], active: active.map(VersionRecord.init),
      versionCount: sums?["n"] ?? 0, byteCount: sums?["b"] ?? 0, createdAt: row["created_at"],
      createdBy: row["created_by"])
  }
}
