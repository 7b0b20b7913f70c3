internal import GRDB

/// A committed data set.
public struct DatasetRecord: Sendable, Equatable {
  public let id: String
  public let name: String?
  public let kind: String
  /// What the uploader found out about the rows (labels and their counts, say), as JSON.
  public let summaryJSON: String
  public let rowCount: Int
  /// UTF-8 bytes of all rows.
  public let bytesCount: Int
  /// The job whose inline data it is; such a set is not listed.
  public let ownerJobID: String?
  public let createdBy: String
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64

  init(_ row: Row) {
    id = row["id"]
    name = row["name"]
    kind = row["kind"]
    summaryJSON = row["summary"]
    rowCount = row["row_count"]
    bytesCount = row["bytes_count"]
    ownerJobID = row["owner_job"]
    createdBy = row["created_by"]
    createdAt = row["created_at"]
  }
}

extension Store {
  /// Starts an upload. It is invisible until committed (here or with a job, ``NewJob/inlineUpload``), and
  /// removed when the store is next opened if that never happens.
  /// - Returns: the id that the data set will have.
  public func beginDataset(name: String?, kind: String, createdBy: String) async throws(StoreError) -> String
  {
    let options = options
    return try await write(.normal) { db in
      let id = options.makeID("ds_")
      try db.execute(
        sql: """
          INSERT INTO datasets (id, name, kind, summary, row_count, bytes_count, created_by, created_at)
          VALUES (?, ?, ?, '{}', 0, 0, ?, ?)
          """, arguments: [id, name, kind, createdBy, options.now()])
      return id
    }
  }

  /// Adds rows (JSON texts) to an upload, in order. Batches of some hundred rows keep both the number of
  /// transactions and the memory small.
  public func appendRows(_ rows: [String], to id: String) async throws(StoreError) {
    try await write(.normal) { db in
      let upload = try Store.upload(db, id)
      let key: Int64 = upload["sequence"]
      let first: Int = upload["row_count"]
      let insert = try db.cachedStatement(
        sql: "INSERT INTO dataset_rows (dataset, position, content) VALUES (?, ?, ?)")
      for (index, row) in rows.enumerated() {
        try insert.execute(arguments: [key, first + index, row])
      }
      try db.execute(
        sql: """
          UPDATE datasets SET row_count = row_count + ?, bytes_count = bytes_count + ? WHERE sequence = ?
          """, arguments: [rows.count, rows.reduce(0) { $0 + $1.utf8.count }, key])
    }
  }

  /// Makes an upload a data set, durably.
  public func commitDataset(_ id: String, summaryJSON: String = "{}") async throws(StoreError)
    -> DatasetRecord
  {
    let options = options
    return try await write(before: .datasetBeforeCommit, after: .datasetAfterCommit) { db in
      try Store.commitUpload(db, id, summary: summaryJSON, owner: nil, now: options.now())
    }
  }

  /// Drops an upload that will not be committed.
  public func abandonDataset(_ id: String) async throws(StoreError) {
    try await write(.normal) { db in
      let upload = try Store.upload(db, id)
      try db.execute(
        sql: "DELETE FROM datasets WHERE sequence = ?", arguments: [upload["sequence"] as Int64])
    }
  }

  /// Newest first, without the inline data of jobs; `after` is the id of the last one seen.
  public func datasets(limit: Int, after: String? = nil) async throws(StoreError) -> [DatasetRecord] {
    try await read { db in
      let start = try Store.sequence(db, table: "datasets", kind: .dataset, id: after)
      return try Row.fetchAll(
        db,
        sql: """
          SELECT * FROM datasets
          WHERE committed_at IS NOT NULL AND owner_job IS NULL AND sequence < ?
          ORDER BY sequence DESC LIMIT ?
          """, arguments: [start, limit]
      ).map(DatasetRecord.init)
    }
  }

  /// One committed data set, a job's inline data included.
  public func dataset(_ id: String) async throws(StoreError) -> DatasetRecord {
    try await read { db in DatasetRecord(try Store.datasetRow(db, id)) }
  }

  /// Rows of a committed data set, in order; positions past the end are left out.
  public func rows(dataset id: String, _ range: Range<Int>) async throws(StoreError) -> [String] {
    try await read { db in
      let key: Int64 = try Store.datasetRow(db, id)["sequence"]
      return try String.fetchAll(
        db,
        sql: """
          SELECT content FROM dataset_rows WHERE dataset = ? AND position >= ? AND position < ?
          ORDER BY position
          """, arguments: [key, range.lowerBound, range.upperBound])
    }
  }

  /// Removes a data set.
  /// - Throws: ``StoreError/inUse(_:id:by:)`` while a queued, running or paused job trains on it.
  public func deleteDataset(_ id: String) async throws(StoreError) {
    try await write { db in
      let row = try Store.datasetRow(db, id)
      let job = try String.fetchOne(
        db,
        sql: """
          SELECT id FROM jobs
          WHERE dataset = ? AND dataset IS NOT NULL AND state IN ('queued', 'running', 'paused') LIMIT 1
          """, arguments: [id])
      if let job { throw StoreError.inUse(.dataset, id: id, by: job) }
      try db.execute(
        sql: "DELETE FROM datasets WHERE sequence = ?", arguments: [row["sequence"] as Int64])
    }
  }

  // MARK: - Inside a transaction

  static func datasetRow(_ db: Database, _ id: String) throws -> Row {
    let row = try Row.fetchOne(
      db, sql: "SELECT * FROM datasets WHERE id = ? AND committed_at IS NOT NULL", arguments: [id])
    guard let row else { throw StoreError.notFound(.dataset, id: id) }
    return row
  }

  private static func upload(_ db: Database, _ id: String) throws -> Row {
    let row = try Row.fetchOne(
      db, sql: "SELECT * FROM datasets WHERE id = ? AND committed_at IS NULL", arguments: [id])
    guard let row else { throw StoreError.notFound(.dataset, id: id) }
    return row
  }

  static func commitUpload(
    _ db: Database, _ id: String, summary: String, owner: String?, now: Int64
  ) throws -> DatasetRecord {
    let upload = try upload(db, id)
    try db.execute(
      sql: "UPDATE datasets SET committed_at = ?, owner_job = ?, summary = ? WHERE sequence = ?",
      arguments: [now, owner, summary, upload["sequence"] as Int64])
    return DatasetRecord(try datasetRow(db, id))
  }

  static func removeUncommittedDatasets(_ db: Database) throws {
    try db.execute(sql: "DELETE FROM datasets WHERE committed_at IS NULL")
  }
}
