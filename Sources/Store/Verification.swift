internal import Foundation
internal import GRDB

/// What ``Store/verify(digest:)`` looked at and what it found wrong.
public struct StoreVerification: Sendable, Equatable {
  public struct Problem: Sendable, Equatable {
    public let kind: RecordKind?
    public let id: String
    /// A short English phrase without the store's content.
    public let reason: String
  }

  public var problems: [Problem] = []
  public var versionsChecked = 0
  public var subspacesChecked = 0
  public var checkpointsChecked = 0
  public var isSound: Bool { problems.isEmpty }
}

extension Store {
  /// Reads the whole store: SQLite's own check, foreign keys, every blob against its digest, every pointer
  /// and counter against what it stands for. Changes nothing.
  /// - Parameter digest: the text `sha256:…` of the bytes; this module knows no hash.
  public func verify(
    digest: @escaping @Sendable (UnsafeRawBufferPointer) -> String
  ) async throws(StoreError) -> StoreVerification {
    try await read { db in
      var report = StoreVerification()
      func add(_ kind: RecordKind?, _ id: String, _ reason: String) {
        report.problems.append(.init(kind: kind, id: id, reason: reason))
      }
      for line in try String.fetchAll(db, sql: "PRAGMA quick_check") where line != "ok" {
        add(nil, "file", line)
      }
      for row in try Row.fetchAll(db, sql: "PRAGMA foreign_key_check") {
        add(nil, row["table"] ?? "", "dangling reference to \(row["parent"] as String? ?? "")")
      }
      report.versionsChecked = try Store.checkBlobs(
        db, digest,
        sql: """
          SELECT b.bytes, v.digest, v.task || '@' || v.version, v.bytes_count FROM versions v
          LEFT JOIN version_bytes b ON b.task = v.task AND b.version = v.version
          """
      ) { add(.version, $0, $1) }
      report.subspacesChecked = try Store.checkBlobs(
        db, digest,
        sql: """
          SELECT b.bytes, s.digest, s.id, s.bytes_count FROM subspaces s
          LEFT JOIN subspace_bytes b ON b.subspace = s.sequence
          """
      ) { add(.subspace, $0, $1) }
      report.checkpointsChecked = try Store.checkBlobs(
        db, digest,
        sql: """
          SELECT c.bytes, c.digest, j.id || '@' || c.step, length(c.bytes) FROM checkpoints c
          JOIN jobs j ON j.sequence = c.job
          """
      ) { add(.checkpoint, $0, $1) }
      for (kind, sql, reason) in Store.ruleChecks {
        for id in try String.fetchAll(db, sql: sql) { add(kind, id, reason) }
      }
      return report
    }
  }

  /// Columns of `sql`: bytes, digest, id, count. Returns how many blobs it read.
  private static func checkBlobs(
    _ db: Database, _ digest: (UnsafeRawBufferPointer) -> String, sql: String,
    report: (_ id: String, _ reason: String) -> Void
  ) throws -> Int {
    var checked = 0
    let rows = try Row.fetchCursor(db, sql: sql)
    while let row = try rows.next() {
      checked += 1
      let id: String = row[2]
      let expected: String? = row[1]
      let count: Int = row[3]
      let actual = try row.withUnsafeData(atIndex: 0) { data in
        data.map { data in (data.count, data.withUnsafeBytes { digest($0) }) }
      }
      if let (actualCount, actualDigest) = actual {
        if actualCount != count { report(id, "has \(actualCount) bytes for \(count)") }
        if let expected, actualDigest != expected { report(id, "bytes do not match the digest") }
      } else if count != 0 {
        report(id, "bytes are missing")
      }
    }
    return checked
  }

  /// Rules that no foreign key states: each query lists the ids that break one.
  private static let ruleChecks: [(RecordKind, String, String)] = [
    (
      .task,
      """
      SELECT name FROM tasks t WHERE version_count <> (SELECT count(*) FROM versions WHERE task = t.name)
        OR bytes_count <> (SELECT coalesce(sum(bytes_count), 0) FROM versions WHERE task = t.name)
      """, "counters differ from its versions"
    ),
    (
      .task,
      """
      SELECT name FROM tasks t WHERE last_version < coalesce(
        (SELECT max(version) FROM versions WHERE task = t.name), 0)
      """, "has a version above its last number"
    ),
    (
      .task,
      """
      SELECT name FROM tasks t WHERE active_version IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM versions v WHERE v.task = t.name AND v.version = t.active_version)
      """, "active version does not exist"
    ),
    (
      .job,
      """
      SELECT id FROM jobs j WHERE state IN ('queued', 'running', 'paused') AND dataset IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM datasets d WHERE d.id = j.dataset AND d.committed_at IS NOT NULL)
      """, "its data set does not exist"
    ),
    (
      .job,
      """
      SELECT id FROM jobs j
      WHERE last_event < coalesce((SELECT max(id) FROM job_events WHERE job = j.sequence), 0)
        OR progress_events <> (SELECT count(*) FROM job_events WHERE job = j.sequence AND is_progress = 1)
      """, "event counters differ from its events"
    ),
    (
      .dataset,
      """
      SELECT id FROM datasets d
      WHERE row_count <> (SELECT count(*) FROM dataset_rows WHERE dataset = d.sequence)
      """, "row counter differs from its rows"
    ),
  ]
}
