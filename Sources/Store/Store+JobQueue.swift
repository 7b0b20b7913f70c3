internal import GRDB

/// What waits to run, and how fast it goes.
public struct JobQueueFigures: Sendable, Equatable {
  public let queued: Int
  /// Until a job leaves the queue: what the running one expects, else the mean of the last that ran to an end.
  public let secondsUntilNext: Double?
}

extension Store {
  public func jobQueue() async throws(StoreError) -> JobQueueFigures {
    try await read { try Self.jobQueue($0) }
  }

  static func jobQueue(_ database: Database) throws -> JobQueueFigures {
    let row = try Row.fetchOne(
      database,
      sql: """
        SELECT (SELECT count(*) FROM jobs WHERE state = 'queued') AS queued,
          coalesce((SELECT min(seconds_left) FROM jobs WHERE state = 'running'),
            (SELECT avg(finished_at - started_at) / 1000.0 FROM (SELECT started_at, finished_at FROM jobs
              WHERE state IN ('succeeded', 'failed') AND started_at IS NOT NULL ORDER BY number DESC LIMIT 16))
          ) AS seconds
        """)
    return JobQueueFigures(queued: row?["queued"] ?? 0, secondsUntilNext: row?["seconds"])
  }
}
