internal import GRDB

/// A base whose records the store holds.
public struct BaseRecord: Sendable, Equatable {
  public let digest: String
  public let name: String
  /// Tasks whose active version stands on it.
  public let taskCount: Int
  /// Milliseconds since 1970 UTC, when a daemon first opened the store with it.
  public let createdAt: Int64
}

/// How much the store holds.
public struct StoreCounts: Sendable, Equatable {
  public let tasks: Int
  public let versions: Int
  public let subspaces: Int
  public let datasets: Int
  public let jobs: [JobState: Int]
  /// Bytes of the database file, free pages included, the log not.
  public let fileBytes: Int64
}

extension Store {
  /// Remembers that the store was opened with this base; a second time changes nothing.
  public func recordBase(digest: String, name: String, createdBy: String) async throws(StoreError) {
    let options = options
    try await write { db in
      try db.execute(
        sql: "INSERT OR IGNORE INTO bases (digest, name, created_by, created_at) VALUES (?, ?, ?, ?)",
        arguments: [digest, name, createdBy, options.now()])
    }
  }

  /// The bases of all records, by digest: with another one resident, their tasks are listed and not served.
  public func bases() async throws(StoreError) -> [BaseRecord] {
    try await read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT b.digest, b.name, b.created_at, count(t.name) AS tasks
          FROM bases b LEFT JOIN tasks t ON t.base = b.digest AND t.deleted_at IS NULL
          GROUP BY b.digest ORDER BY b.digest
          """
      ).map {
        BaseRecord(
          digest: $0["digest"], name: $0["name"], taskCount: $0["tasks"], createdAt: $0["created_at"])
      }
    }
  }

  /// Counts by reading indexes whole: for `doctor` and a metrics page, not for a request's path.
  public func counts() async throws(StoreError) -> StoreCounts {
    try await read { db in
      func count(_ what: String) throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM \(what)") ?? 0
      }
      var jobs: [JobState: Int] = [:]
      for state in JobState.allCases {
        jobs[state] = try count("jobs WHERE state = '\(state.rawValue)'")
      }
      let pages = try Int64.fetchOne(db, sql: "PRAGMA page_count") ?? 0
      let size = try Int64.fetchOne(db, sql: "PRAGMA page_size") ?? 0
      return StoreCounts(
        tasks: try count("tasks WHERE deleted_at IS NULL"), versions: try count("versions"),
        subspaces: try count("subspaces"),
        datasets: try count("datasets WHERE committed_at IS NOT NULL AND owner_job IS NULL"), jobs: jobs,
        fileBytes: pages * size)
    }
  }
}
