internal import Foundation
internal import GRDB

/// A subspace as it is put into the store.
public struct NewSubspace: Sendable, Equatable {
  /// Names it within its base; nil leaves it to its digest and id.
  public var name: String?
  /// `sha256:…` of ``bytes``.
  public var digest: String
  /// Digest of the base it belongs to.
  public var base: String
  /// `weights`, `deltas`, `adapters` or `random`.
  public var source: String
  /// Columns kept.
  public var rank: Int
  /// How it was made, as JSON.
  public var settingsJSON: String
  /// What it is per site (energy, singular values), as JSON, so that a listing needs no bytes.
  public var summaryJSON: String
  public var bytes: [UInt8]
  /// Also moves the name `default` of its base to it.
  public var makesDefault: Bool
  /// The job that made it; a running one is completed in the same transaction.
  public var jobID: String?
  public var createdBy: String

  public init(
    name: String? = nil, digest: String, base: String, source: String, rank: Int,
    settingsJSON: String = "{}", summaryJSON: String = "{}", bytes: [UInt8], makesDefault: Bool = false,
    jobID: String? = nil, createdBy: String
  ) {
    self.name = name
    self.digest = digest
    self.base = base
    self.source = source
    self.rank = rank
    self.settingsJSON = settingsJSON
    self.summaryJSON = summaryJSON
    self.bytes = bytes
    self.makesDefault = makesDefault
    self.jobID = jobID
    self.createdBy = createdBy
  }
}

/// A stored subspace without its bytes.
public struct SubspaceRecord: Sendable, Equatable {
  public let id: String
  public let digest: String
  public let base: String
  /// Names that stand for it now, sorted; `default` among them when it is the base's default.
  public let names: [String]
  public let source: String
  public let rank: Int
  public let settingsJSON: String
  public let summaryJSON: String
  public let bytesCount: Int
  public let jobID: String?
  public let createdBy: String
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64

  /// The name that POST /train's `"subspace": "default"` means.
  public static let defaultName = "default"
  public var isDefault: Bool { names.contains(Self.defaultName) }

  init(_ row: Row, names: [String]) {
    id = row["id"]
    digest = row["digest"]
    base = row["base"]
    self.names = names
    source = row["source"]
    rank = row["rank"]
    settingsJSON = row["settings"]
    summaryJSON = row["summary"]
    bytesCount = row["bytes_count"]
    jobID = row["job"]
    createdBy = row["created_by"]
    createdAt = row["created_at"]
  }
}

extension Store {
  /// Stores a subspace. One whose digest is already there is returned as it is, with the new name added.
  /// - Throws: ``StoreError/nameTaken(_:name:)`` when the name stands for another digest (the name `default`
  ///   moves only by ``NewSubspace/makesDefault`` or ``setDefaultSubspace(base:digest:createdBy:)``).
  public func insertSubspace(_ new: NewSubspace) async throws(StoreError) -> SubspaceRecord {
    let options = options
    return try await write(before: .publishBeforeCommit, after: .publishAfterCommit) { db in
      let now = options.now()
      if let existing = try Store.subspaceRow(db, digest: new.digest) {
        guard existing["base"] == new.base else { throw StoreError.nameTaken(.subspace, name: new.digest) }
      } else {
        try db.execute(
          sql: """
            INSERT INTO subspaces
              (id, digest, base, source, rank, settings, summary, bytes_count, job, created_by, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
          arguments: [
            options.makeID("sub_"), new.digest, new.base, new.source, new.rank, new.settingsJSON,
            new.summaryJSON, new.bytes.count, new.jobID, new.createdBy, now,
          ])
        try db.execute(
          sql: "INSERT INTO subspace_bytes (subspace, bytes) VALUES (?, ?)",
          arguments: [db.lastInsertedRowID, Data(new.bytes)])
      }
      if let name = new.name {
        guard !name.isEmpty else { throw StoreError.invalid(field: "name") }
        let taken = try String.fetchOne(
          db, sql: "SELECT digest FROM subspace_names WHERE base = ? AND name = ?",
          arguments: [new.base, name])
        if let taken, taken != new.digest { throw StoreError.nameTaken(.subspace, name: name) }
        if taken == nil {
          try Store.setName(db, name, new.base, new.digest, by: new.createdBy, now: now)
        }
      }
      if new.makesDefault {
        try Store.setName(
          db, SubspaceRecord.defaultName, new.base, new.digest, by: new.createdBy, now: now)
      }
      guard let row = try Store.subspaceRow(db, digest: new.digest) else { throw StoreError.corrupt }
      if let job = new.jobID {
        let result = JobResult(subspace: row["id"], metricsJSON: nil)
        try Store.completeJob(db, job, result: result, by: new.createdBy, options: options)
      }
      return try Store.subspaceRecord(db, row)
    }
  }

  /// Newest first; `after` is the id of the last one seen.
  public func subspaces(base: String? = nil, limit: Int, after: String? = nil) async throws(StoreError)
    -> [SubspaceRecord]
  {
    try await read { db in
      let start = try Store.sequence(db, table: "subspaces", kind: .subspace, id: after)
      let rows = try Row.fetchAll(
        db,
        sql: """
          SELECT * FROM subspaces WHERE sequence < ? \(base == nil ? "" : "AND base = ?")
          ORDER BY sequence DESC LIMIT ?
          """,
        arguments: base.map { [start, $0, limit] } ?? [start, limit])
      return try rows.map { try Store.subspaceRecord(db, $0) }
    }
  }

  /// Finds a subspace by id, by digest, or by its name within `base`.
  public func subspace(_ reference: String, base: String) async throws(StoreError) -> SubspaceRecord {
    try await read { db in
      let row =
        try Row.fetchOne(
          db,
          sql: """
            SELECT s.* FROM subspace_names n JOIN subspaces s ON s.digest = n.digest
            WHERE n.base = ? AND n.name = ?
            """, arguments: [base, reference])
        ?? Row.fetchOne(db, sql: "SELECT * FROM subspaces WHERE id = ?", arguments: [reference])
        ?? Store.subspaceRow(db, digest: reference)
      guard let row else { throw StoreError.notFound(.subspace, id: reference) }
      return try Store.subspaceRecord(db, row)
    }
  }

  /// The bytes of the subspace with this digest.
  public func subspaceBytes(digest: String) async throws(StoreError) -> [UInt8] {
    try await read { db in
      let bytes = try Store.bytes(
        db,
        sql: """
          SELECT b.bytes FROM subspaces s JOIN subspace_bytes b ON b.subspace = s.sequence
          WHERE s.digest = ?
          """, arguments: [digest])
      guard let bytes else { throw StoreError.notFound(.subspace, id: digest) }
      return bytes
    }
  }

  /// The digest that `default` means for this base, if any.
  public func defaultSubspace(base: String) async throws(StoreError) -> String? {
    try await read { db in
      try String.fetchOne(
        db, sql: "SELECT digest FROM subspace_names WHERE base = ? AND name = ?",
        arguments: [base, SubspaceRecord.defaultName])
    }
  }

  /// Moves the name `default` of `base`; tasks keep the digest they were trained on.
  public func setDefaultSubspace(base: String, digest: String, createdBy: String) async throws(StoreError) {
    let options = options
    try await write { db in
      guard let row = try Store.subspaceRow(db, digest: digest), row["base"] == base else {
        throw StoreError.notFound(.subspace, id: digest)
      }
      try Store.setName(
        db, SubspaceRecord.defaultName, base, digest, by: createdBy, now: options.now())
    }
  }

  /// Removes a subspace with its names.
  /// - Throws: ``StoreError/inUse(_:id:by:)`` when a version stands on it.
  public func deleteSubspace(_ id: String) async throws(StoreError) {
    try await write { db in
      guard
        let digest = try String.fetchOne(
          db, sql: "SELECT digest FROM subspaces WHERE id = ?", arguments: [id])
      else { throw StoreError.notFound(.subspace, id: id) }
      let user = try String.fetchOne(
        db, sql: "SELECT task || '@' || version FROM versions WHERE subspace = ? LIMIT 1",
        arguments: [digest])
      if let user { throw StoreError.inUse(.subspace, id: id, by: user) }
      try db.execute(sql: "DELETE FROM subspaces WHERE id = ?", arguments: [id])
    }
  }

  // MARK: - Inside a transaction

  static func subspaceRow(_ db: Database, digest: String) throws -> Row? {
    try Row.fetchOne(db, sql: "SELECT * FROM subspaces WHERE digest = ?", arguments: [digest])
  }

  private static func subspaceRecord(_ db: Database, _ row: Row) throws -> SubspaceRecord {
    let digest: String = row["digest"]
    let names = try String.fetchAll(
      db, sql: "SELECT name FROM subspace_names WHERE digest = ? ORDER BY name", arguments: [digest])
    return SubspaceRecord(row, names: names)
  }

  private static func setName(
    _ db: Database, _ name: String, _ base: String, _ digest: String, by: String, now: Int64
  ) throws {
    try db.execute(
      sql: """
        INSERT INTO subspace_names (base, name, digest, created_by, created_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (base, name) DO UPDATE SET
          digest = excluded.digest, created_by = excluded.created_by, created_at = excluded.created_at
        """, arguments: [base, name, digest, by, now])
  }

  /// Where a descending listing goes on: the sequence of the last record seen.
  static func sequence(_ db: Database, table: String, kind: RecordKind, id: String?) throws -> Int64 {
    guard let id else { return .max }
    let found = try Int64.fetchOne(
      db, sql: "SELECT sequence FROM \(table) WHERE id = ?", arguments: [id])
    guard let found else { throw StoreError.notFound(kind, id: id) }
    return found
  }

  /// One blob, copied once.
  static func bytes(_ db: Database, sql: String, arguments: StatementArguments) throws -> [UInt8]? {
    let rows = try Row.fetchCursor(db.cachedStatement(sql: sql), arguments: arguments)
    guard let row = try rows.next() else { return nil }
    return try row.withUnsafeData(atIndex: 0) { $0.map { [UInt8]($0) } ?? [] }
  }
}
