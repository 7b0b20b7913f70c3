internal import Foundation
internal import GRDB

/// A training state from which a job goes on.
public struct CheckpointRecord: Sendable, Equatable {
  public let step: Int
  /// As given when it was put.
  public let digest: String?
  public let bytes: [UInt8]
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64
}

extension Store {
  /// Checkpoints kept for a job: the newest, and the one before it should the newest prove unreadable.
  static let checkpointsKept = 2

  /// Stores the state after `step`, durably, and drops all but the last two.
  /// - Throws: ``StoreError/jobState(state:)`` when the job has ended.
  public func putCheckpoint(
    job: String, step: Int, bytes: [UInt8], digest: String? = nil, createdBy: String
  ) async throws(StoreError) {
    guard step >= 0 else { throw .invalid(field: "step") }
    let options = options
    try await write(before: .checkpointBeforeCommit, after: .checkpointAfterCommit) { db in
      let state = try Store.jobRecord(db, job).state
      guard !state.isTerminal else { throw StoreError.jobState(state: state) }
      let key = try Store.jobKey(db, job)
      try db.execute(
        sql: """
          INSERT OR REPLACE INTO checkpoints (job, step, digest, bytes, created_by, created_at)
          VALUES (?, ?, ?, ?, ?, ?)
          """, arguments: [key, step, digest, Data(bytes), createdBy, options.now()])
      try db.execute(
        sql: """
          DELETE FROM checkpoints WHERE job = ?1 AND step NOT IN
            (SELECT step FROM checkpoints WHERE job = ?1 ORDER BY step DESC LIMIT ?2)
          """, arguments: [key, Store.checkpointsKept])
    }
  }

  /// The newest checkpoint of a job, or the newest before step `before`; nil when there is none.
  public func latestCheckpoint(job: String, before: Int? = nil) async throws(StoreError)
    -> CheckpointRecord?
  {
    try await read { db in
      let key = try Store.jobKey(db, job)
      let row = try Row.fetchOne(
        db,
        sql: """
          SELECT step, digest, bytes, created_at FROM checkpoints WHERE job = ? AND step < ?
          ORDER BY step DESC LIMIT 1
          """, arguments: [key, before ?? Int.max])
      guard let row else { return nil }
      let bytes = try row.withUnsafeData(named: "bytes") { $0.map { [UInt8]($0) } ?? [] }
      return CheckpointRecord(
        step: row["step"], digest: row["digest"], bytes: bytes, createdAt: row["created_at"])
    }
  }

  /// The steps that have a checkpoint, newest first.
  public func checkpointSteps(job: String) async throws(StoreError) -> [Int] {
    try await read { db in
      let key = try Store.jobKey(db, job)
      return try Int.fetchAll(
        db, sql: "SELECT step FROM checkpoints WHERE job = ? ORDER BY step DESC", arguments: [key])
    }
  }
}
