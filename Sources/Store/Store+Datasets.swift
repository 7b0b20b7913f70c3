internal import Foundation
internal import GRDB

/// A data set without its rows.
public struct DatasetRecord: Sendable, Equatable {
  public let id: String
  public let name: String
  public let kind: String
  public let rows: Int
  public let byteCount: Int
  public let createdAt: Int64
  public let createdBy: String

  init(row: Row) {
    id = row["id"]
    name = row["name"]
    kind = row["kind"]
    rows = row["rows"]
    byteCount = row["byte_count"]
    createdAt = row["created_at"]
    createdBy = row["created_by"]
  }
}

extension Store {
  /// Starts an upload. It is invisible until `completeDataset`, and gone if the process ends before.
  ///
  /// - Parameter isInline: the rows of one job, never listed; they go when that job ends.
  public func beginDataset(
    name: String, kind: String, isInline: Bool, by: String
  ) async throws(StoreError) -> String {
    let id = freshID("ds_")
    let at = now()
    try await write { database in
      try database.execute(
        sql: "INSERT INTO datasets VALUES (?, ?, ?, 0, 0, 0, ?, ?, ?)",
        arguments: [id, name, kind, isInline, at, by])
    }
    return id
  }

  /// Appends one batch of rows to an upload, encoded by the caller.
  public func appendRows(_ bytes: [UInt8], count: Int, to dataset: String) async throws(StoreError) {
    try await write { database in
      let first = try Int.fetchOne(
        database, sql: "SELECT rows FROM datasets WHERE id = ? AND is_complete = 0", arguments: [dataset])
      guard let first else { throw StoreError.notFound(.dataset, id: dataset) }
      try database.execute(
        sql: "INSERT INTO dataset_batches VALUES (?, ?, ?, ?)",
        arguments: [dataset, first, count, Data(bytes)])
      try database.execute(
        sql: "UPDATE datasets SET rows = rows + ?, byte_count = byte_count + ? WHERE id = ?",
        arguments: [count, bytes.count, dataset])
    }
  }

  /// Makes an upload visible.
  public func completeDataset(_ id: String) async throws(StoreError) -> DatasetRecord {
    try await write(.dataset) { database in
      try database.execute(sql: "UPDATE datasets SET is_complete = 1 WHERE id = ?", arguments: [id])
      return try Self.dataset(database, id)
    }
  }

  /// Drops an upload.
  public func abandonDataset(_ id: String) async throws(StoreError) {
    try await write { database in
      try database.execute(sql: "DELETE FROM datasets WHERE id = ? AND is_complete = 0", arguments: [id])
    }
  }

  public func dataset(_ id: String) async throws(StoreError) -> DatasetRecord {
    try await read { try Self.dataset($0, id) }
  }

  /// Data sets, newest first; `after` is the id of the last one of the page before, which need not be there any more.
  public func datasets(after: String?, limit: Int) async throws(StoreError) -> [DatasetRecord] {
    try await read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT * FROM datasets WHERE (? IS NULL OR id < ?) AND is_complete = 1 AND is_inline = 0
          ORDER BY id DESC LIMIT ?
          """, arguments: [after, after, limit]
      ).map(DatasetRecord.init)
    }
  }

  /// The batches in order, as they were appended.
  public func rows(of dataset: String) async throws(StoreError) -> [[UInt8]] {
    try await read { database in
      try Data.fetchAll(
        database, sql: "SELECT bytes FROM dataset_batches WHERE dataset = ? ORDER BY first_row",
        arguments: [dataset]
      ).map { [UInt8]($0) }
    }
  }

  /// The first batch that begins at a row or behind it, rows counted from nought, and the first row behind the batch;
  /// nil past the last one.
  public func batch(of dataset: String, at row: Int) async throws(StoreError) -> (bytes: [UInt8], next: Int)?
  {
    try await read { database in
      _ = try Self.dataset(database, dataset)
      let found = try Row.fetchOne(
        database,
        sql: """
          SELECT first_row + rows AS next, bytes FROM dataset_batches WHERE dataset = ? AND first_row >= ?
          ORDER BY first_row LIMIT 1
          """, arguments: [dataset, row])
      return found.map { (bytes: [UInt8]($0["bytes"] as Data), next: $0["next"] as Int) }
    }
  }

  /// - Throws: `.inUse` while a job that has not ended needs it.
  public func deleteDataset(_ id: String) async throws(StoreError) {
    try await write { database in
      _ = try Self.dataset(database, id)
      let job = try String.fetchOne(
        database,
        sql: """
          SELECT id FROM jobs WHERE dataset = ? AND state IN ('queued', 'running', 'paused') LIMIT 1
          """, arguments: [id])
      if let job { throw StoreError.inUse("job \(job)") }
      try database.execute(sql: "DELETE FROM datasets WHERE id = ?", arguments: [id])
    }
  }

  private static func dataset(_ database: Database, _ id: String) throws -> DatasetRecord {
    let row = try Row.fetchOne(
      database, sql: "SELECT * FROM datasets WHERE id = ? AND is_complete = 1", arguments: [id])
    guard let row else { throw StoreError.notFound(.dataset, id: id) }
    return DatasetRecord(row: row)
  }
}
