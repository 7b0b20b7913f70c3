internal import Foundation
internal import GRDB

/// A subspace without its bytes.
public struct SubspaceRecord: Sendable, Equatable {
  public let id: String
  public let name: String
  public let digest: String
  public let base: String
  public let source: String
  public let scope: String
  public let center: Bool
  public let rank: Int
  public let byteCount: Int
  /// Of its own base.
  public let isDefault: Bool
  public let createdAt: Int64
  public let createdBy: String

  init(row: Row) {
    id = row["id"]
    name = row["name"]
    digest = row["digest"]
    base = row["base"]
    source = row["source"]
    scope = row["scope"]
    center = row["center"]
    rank = row["rank"]
    byteCount = row["byte_count"]
    isDefault = row["is_default"]
    createdAt = row["created_at"]
    createdBy = row["created_by"]
  }

  static let select = """
    SELECT id, name, digest, base, source, scope, center, rank, byte_count, created_at, created_by,
      EXISTS (SELECT 1 FROM default_subspaces d WHERE d.base = subspaces.base AND d.digest = subspaces.digest)
        AS is_default
    FROM subspaces
    """
}

/// A subspace to keep.
public struct NewSubspace: Sendable {
  public var name: String
  public var digest: String
  public var base: String
  public var source: String
  public var scope: String
  public var center: Bool
  public var rank: Int
  public var bytes: [UInt8]
  public var createdBy: String

  public init(
    name: String, digest: String, base: String, source: String, scope: String, center: Bool, rank: Int,
    bytes: [UInt8], createdBy: String
  ) {
    self.name = name
    self.digest = digest
    self.base = base
    self.source = source
    self.scope = scope
    self.center = center
    self.rank = rank
    self.bytes = bytes
    self.createdBy = createdBy
  }
}

extension Store {
  /// Keeps a subspace, points its base's `default` at it where asked, and ends the job that made it: one transaction.
  ///
  /// - Returns: its id.
  /// - Throws: `.nameTaken` where the base has one of that name; `.jobState` where the job is not running.
  public func insert(
    _ new: NewSubspace, makeDefault: Bool, job: String? = nil, finalEvent: String = "{}"
  ) async throws(StoreError) -> String {
    let at = now()
    let id = freshID("sub_")
    try await write(.publish) { database in
      let taken = try Bool.fetchOne(
        database, sql: "SELECT EXISTS (SELECT 1 FROM subspaces WHERE base = ? AND name = ?)",
        arguments: [new.base, new.name])
      if taken == true { throw StoreError.nameTaken(new.name) }
      try database.execute(
        sql: "INSERT INTO subspaces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        arguments: [
          id, new.name, new.digest, new.base, new.source, new.scope, new.center, new.rank, new.bytes.count,
          Data(new.bytes), at, new.createdBy,
        ])
      if makeDefault {
        try database.execute(
          sql: """
            INSERT INTO default_subspaces VALUES (?, ?)
            ON CONFLICT (base) DO UPDATE SET digest = excluded.digest
            """, arguments: [new.base, new.digest])
      }
      if let job {
        try database.execute(
          sql: """
            UPDATE jobs SET state = 'succeeded', subspace = ?, progress = 1, seconds_left = 0, finished_at = ?
            WHERE id = ? AND state = 'running'
            """, arguments: [id, at, job])
        guard database.changesCount == 1 else { throw StoreError.jobState("not running") }
        try Self.append(database, job, "state", finalEvent, at: at)
      }
    }
    return id
  }

  /// By id or digest, or by its name among those of `base`; `default` is what that base's pointer names.
  public func subspace(_ key: String, base: String) async throws(StoreError) -> SubspaceRecord {
    try await read { database in
      let filter =
        key == "default"
        ? "base = :base AND digest = (SELECT digest FROM default_subspaces WHERE base = :base)"
        : "id = :key OR digest = :key OR (base = :base AND name = :key)"
      let order = key == "default" ? "id" : "(id = :key) DESC, (digest = :key) DESC, id"
      let arguments: StatementArguments = key == "default" ? ["base": base] : ["key": key, "base": base]
      let row = try Row.fetchOne(
        database, sql: "\(SubspaceRecord.select) WHERE \(filter) ORDER BY \(order) LIMIT 1",
        arguments: arguments)
      guard let row else { throw StoreError.notFound(.subspace, id: key) }
      return SubspaceRecord(row: row)
    }
  }

  /// Whether a base has a subspace of that name.
  public func hasSubspace(named name: String, base: String) async throws(StoreError) -> Bool {
    try await read { database in
      try Bool.fetchOne(
        database, sql: "SELECT EXISTS (SELECT 1 FROM subspaces WHERE base = ? AND name = ?)",
        arguments: [base, name]) ?? false
    }
  }

  /// Subspaces of all bases, newest first; `after` is the id of the last one of the page before.
  public func subspaces(after: String?, limit: Int) async throws(StoreError) -> [SubspaceRecord] {
    try await read { database in
      try Row.fetchAll(
        database,
        sql: "\(SubspaceRecord.select) WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?",
        arguments: [after, after, limit]
      ).map(SubspaceRecord.init)
    }
  }

  public func subspaceBytes(digest: String) async throws(StoreError) -> [UInt8] {
    try await read { database in
      let bytes = try Data.fetchOne(
        database, sql: "SELECT bytes FROM subspaces WHERE digest = ? LIMIT 1", arguments: [digest])
      guard let bytes else { throw StoreError.notFound(.subspace, id: digest) }
      return [UInt8](bytes)
    }
  }
}
