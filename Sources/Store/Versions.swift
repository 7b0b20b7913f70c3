internal import GRDB

/// What must be active for a publish or an activation to happen.
public enum ExpectedActive: Sendable, Equatable {
  /// Anything.
  case any
  /// Exactly this version; nil: none is active (the task is new, say).
  case exactly(Int?)
}

/// An adapter version as it is published.
public struct NewVersion: Sendable, Equatable {
  public var task: String
  /// The task's kind, which it keeps for life.
  public var kind: String
  /// Digest of the base.
  public var base: String
  /// `sha256:…` of ``bytes``.
  public var digest: String
  public var bytes: [UInt8]
  /// Digest of the shared subspace, which must be in the store; nil when every B is private.
  public var subspace: String?
  public var method: String
  public var rank: Int
  public var metricsJSON: String
  public var labelsJSON: String
  public var settingsJSON: String
  /// The job that made it. A running one is completed by the same transaction; one that already published
  /// answers the version it got, so a retry after a crash publishes once.
  public var jobID: String?
  public var createdBy: String
  /// Whether it becomes the active version.
  public var activate: Bool
  /// Checked whether it is activated or not.
  public var expectedActive: ExpectedActive

  public init(
    task: String, kind: String, base: String, digest: String, bytes: [UInt8], subspace: String? = nil,
    method: String, rank: Int, metricsJSON: String = "{}", labelsJSON: String = "[]",
    settingsJSON: String = "{}", jobID: String? = nil, createdBy: String, activate: Bool = true,
    expectedActive: ExpectedActive = .any
  ) {
    self.task = task
    self.kind = kind
    self.base = base
    self.digest = digest
    self.bytes = bytes
    self.subspace = subspace
    self.method = method
    self.rank = rank
    self.metricsJSON = metricsJSON
    self.labelsJSON = labelsJSON
    self.settingsJSON = settingsJSON
    self.jobID = jobID
    self.createdBy = createdBy
    self.activate = activate
    self.expectedActive = expectedActive
  }
}

/// A stored version without its bytes.
public struct VersionRecord: Sendable, Equatable {
  public let task: String
  public let version: Int
  public let digest: String
  public let base: String
  public let subspace: String?
  public let method: String
  public let rank: Int
  public let metricsJSON: String
  public let labelsJSON: String
  public let settingsJSON: String
  public let bytesCount: Int
  public let jobID: String?
  public let createdBy: String
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64

  init(_ row: Row) {
    task = row["task"]
    version = row["version"]
    digest = row["digest"]
    base = row["base"]
    subspace = row["subspace"]
    method = row["method"]
    rank = row["rank"]
    metricsJSON = row["metrics"]
    labelsJSON = row["labels"]
    settingsJSON = row["settings"]
    bytesCount = row["bytes_count"]
    jobID = row["job"]
    createdBy = row["created_by"]
    createdAt = row["created_at"]
  }
}

extension Store {
  /// Newest first; `after` is the number of the last one seen.
  public func versions(task: String, limit: Int, after: Int? = nil) async throws(StoreError)
    -> [VersionRecord]
  {
    try await read { db in
      guard try Store.taskRow(db, task) != nil else { throw StoreError.notFound(.task, id: task) }
      return try Row.fetchAll(
        db,
        sql: "SELECT * FROM versions WHERE task = ? AND version < ? ORDER BY version DESC LIMIT ?",
        arguments: [task, after ?? Int.max, limit]
      ).map(VersionRecord.init)
    }
  }

  /// One version of a task.
  public func version(task: String, _ version: Int) async throws(StoreError) -> VersionRecord {
    try await read { db in
      guard let row = try Store.versionRow(db, task, version) else {
        throw StoreError.notFound(.version, id: "\(task)@\(version)")
      }
      return VersionRecord(row)
    }
  }

  /// The bytes of one version.
  public func versionBytes(task: String, version: Int) async throws(StoreError) -> [UInt8] {
    try await read { db in
      let bytes = try Store.bytes(
        db, sql: "SELECT bytes FROM version_bytes WHERE task = ? AND version = ?",
        arguments: [task, version])
      guard let bytes else { throw StoreError.notFound(.version, id: "\(task)@\(version)") }
      return bytes
    }
  }

  /// Removes a version, its bytes and its place in the history.
  /// - Throws: ``StoreError/inUse(_:id:by:)`` when it is the active one.
  public func deleteVersion(task: String, version: Int) async throws(StoreError) {
    let options = options
    try await write { db in
      guard let row = try Store.versionRow(db, task, version), let owner = try Store.taskRow(db, task)
      else { throw StoreError.notFound(.version, id: "\(task)@\(version)") }
      guard owner["active_version"] != version else {
        throw StoreError.inUse(.version, id: "\(task)@\(version)", by: task)
      }
      try db.execute(
        sql: "DELETE FROM versions WHERE task = ? AND version = ?", arguments: [task, version])
      try db.execute(
        sql: """
          UPDATE tasks SET version_count = version_count - 1, bytes_count = bytes_count - ?, updated_at = ?
          WHERE name = ?
          """, arguments: [row["bytes_count"] as Int, options.now(), task])
    }
  }

  static func versionRow(_ db: Database, _ task: String, _ version: Int) throws -> Row? {
    try Row.fetchOne(
      db, sql: "SELECT * FROM versions WHERE task = ? AND version = ?", arguments: [task, version])
  }
}
