internal import Foundation
internal import GRDB

/// A job to accept.
public struct NewJob: Sendable {
  public var type: String
  /// Digest of the base that it is for: it waits while another one is resident.
  public var base: String
  public var task: String?
  public var method: String?
  /// What the client sees.
  public var settings: String
  /// What the runner needs to run it, again after a restart.
  public var request: String
  public var dataset: String?
  public var idempotencyKey: String?
  public var requestDigest: String?
  public var createdBy: String

  public init(
    type: String, base: String, task: String?, method: String?, settings: String, request: String,
    dataset: String?, idempotencyKey: String?, requestDigest: String?, createdBy: String
  ) {
    self.type = type
    self.base = base
    self.task = task
    self.method = method
    self.settings = settings
    self.request = request
    self.dataset = dataset
    self.idempotencyKey = idempotencyKey
    self.requestDigest = requestDigest
    self.createdBy = createdBy
  }
}

/// A job as it stands.
public struct JobRecord: Sendable, Equatable {
  public let number: Int64
  public let id: String
  public let type: String
  public let state: String
  public let task: String?
  public let method: String?
  public let settings: String
  public let request: String
  public let dataset: String?
  public let progress: Double
  public let epoch: Int?
  public let step: Int?
  public let steps: Int?
  public let loss: Double?
  public let examplesPerSecond: Double?
  public let secondsLeft: Double?
  public let metrics: String?
  public let version: Int?
  public let subspace: String?
  public let errorCode: String?
  public let errorDetail: String?
  public let createdAt: Int64
  public let startedAt: Int64?
  public let finishedAt: Int64?
  public let createdBy: String

  init(row: Row) {
    number = row["number"]
    id = row["id"]
    type = row["type"]
    state = row["state"]
    task = row["task"]
    method = row["method"]
    settings = row["settings"]
    request = row["request"]
    dataset = row["dataset"]
    progress = row["progress"]
    epoch = row["epoch"]
    step = row["step"]
    steps = row["steps"]
    loss = row["loss"]
    examplesPerSecond = row["examples_per_second"]
    secondsLeft = row["seconds_left"]
    metrics = row["metrics"]
    version = row["version"]
    subspace = row["subspace"]
    errorCode = row["error_code"]
    errorDetail = row["error_detail"]
    createdAt = row["created_at"]
    startedAt = row["started_at"]
    finishedAt = row["finished_at"]
    createdBy = row["created_by"]
  }
}

/// How far a running job is.
public struct JobProgress: Sendable, Equatable {
  public var progress: Double
  public var epoch: Int?
  public var step: Int?
  public var steps: Int?
  /// Nil leaves the job's last, as nil metrics do.
  public var loss: Double?
  public var examplesPerSecond: Double?
  public var secondsLeft: Double?
  public var metrics: String?

  public init(
    progress: Double, epoch: Int? = nil, step: Int? = nil, steps: Int? = nil, loss: Double? = nil,
    examplesPerSecond: Double? = nil, secondsLeft: Double? = nil, metrics: String? = nil
  ) {
    self.progress = progress
    self.epoch = epoch
    self.step = step
    self.steps = steps
    self.loss = loss
    self.examplesPerSecond = examplesPerSecond
    self.secondsLeft = secondsLeft
    self.metrics = metrics
  }
}

public struct EventRecord: Sendable, Equatable {
  public let id: Int64
  public let kind: String
  public let data: String
  /// Milliseconds since 1970.
  public let at: Int64

  init(row: Row) {
    id = row["id"]
    kind = row["kind"]
    data = row["data"]
    at = row["at"]
  }
}

/// A kept checkpoint without its bytes.
public struct CheckpointRecord: Sendable, Equatable {
  public let step: Int
  /// Milliseconds since 1970.
  public let at: Int64
  /// The training loss there.
  public let loss: Double?
}

extension Store {
  /// Progress events kept of a job; older ones go, state changes and validations stay.
  public static let keptProgressEvents = 2_000

  /// Accepts a job, or finds the one that was accepted under the same key.
  ///
  /// - Parameter limit: jobs that may be queued, with this one.
  /// - Throws: `.idempotencyConflict` where the key came with another request; `.queueFull`; `.notFound` for its data set.
  public func insert(
    _ new: NewJob, limit: Int = .max
  ) async throws(StoreError) -> (job: JobRecord, isNew: Bool) {
    let id = freshID("job_")
    let at = now()
    return try await write(.job) { database in
      if let key = new.idempotencyKey,
        let known = try Self.job(database, key, new.createdBy, new.requestDigest)
      {
        return (known, false)
      }
      let queue = try Self.jobQueue(database)
      guard queue.queued < limit else { throw StoreError.queueFull(queue, limit: limit) }
      if let dataset = new.dataset {
        let isThere = try Bool.fetchOne(
          database, sql: "SELECT EXISTS (SELECT 1 FROM datasets WHERE id = ?)", arguments: [dataset])
        guard isThere == true else { throw StoreError.notFound(.dataset, id: dataset) }
        // The inline rows of this job become durable with it.
        try database.execute(sql: "UPDATE datasets SET is_complete = 1 WHERE id = ?", arguments: [dataset])
      }
      try database.execute(
        sql: """
          INSERT INTO jobs (id, type, base, state, task, method, settings, request, dataset, idempotency_key,
            request_digest, created_at, created_by) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          id, new.type, new.base, new.task, new.method, new.settings, new.request, new.dataset,
          new.idempotencyKey,
          new.requestDigest, at, new.createdBy,
        ])
      try Self.append(database, id, "state", #"{"state":"queued"}"#, at: at)
      return (try Self.job(database, id), true)
    }
  }

  /// The job that was accepted under a caller's key.
  ///
  /// - Throws: `.idempotencyConflict` where it came with another request.
  public func job(
    idempotencyKey key: String, by creator: String, requestDigest: String?
  ) async throws(StoreError) -> JobRecord? {
    try await read { try Self.job($0, key, creator, requestDigest) }
  }

  public func job(_ id: String) async throws(StoreError) -> JobRecord {
    try await read { try Self.job($0, id) }
  }

  /// Newest first; `after` is the id of the last one of the page before.
  public func jobs(
    type: String? = nil, state: String?, task: String?, after: String?, limit: Int
  ) async throws(StoreError) -> [JobRecord] {
    try await read { database in
      var filters = ["1"]
      var arguments = StatementArguments()
      if let type {
        filters.append("type = ?")
        arguments += [type]
      }
      if let state {
        filters.append("state = ?")
        arguments += [state]
      }
      if let task {
        filters.append("task = ?")
        arguments += [task]
      }
      if let after {
        filters.append("number < ?")
        arguments += [try Self.job(database, after).number]
      }
      arguments += [limit]
      return try Row.fetchAll(
        database,
        sql: "SELECT * FROM jobs WHERE \(filters.joined(separator: " AND ")) ORDER BY number DESC LIMIT ?",
        arguments: arguments
      ).map(JobRecord.init)
    }
  }

  /// How many jobs that have not ended are for another base.
  public func strangeJobCount(base: String) async throws(StoreError) -> Int {
    try await read { database in
      try Int.fetchOne(
        database,
        sql: "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running', 'paused') AND base <> ?",
        arguments: [base]) ?? 0
    }
  }

  /// The next job to run on a base: of the caller who has had the fewest jobs started, the oldest.
  public func nextQueuedJob(base: String) async throws(StoreError) -> JobRecord? {
    try await read { database in
      try Row.fetchOne(
        database,
        sql: """
          SELECT * FROM jobs WHERE state = 'queued' AND base = ? ORDER BY
            (SELECT count(*) FROM jobs o WHERE o.created_by = jobs.created_by AND o.started_at IS NOT NULL
              AND o.number > (SELECT max(number) - 100 FROM jobs)), number
          LIMIT 1
          """, arguments: [base]
      ).map(JobRecord.init)
    }
  }

  public func jobCounts() async throws(StoreError) -> [String: Int] {
    try await read { database in
      let rows = try Row.fetchAll(database, sql: "SELECT state, count(*) AS n FROM jobs GROUP BY state")
      return Dictionary(rows.map { ($0["state"], $0["n"]) }, uniquingKeysWith: { $1 })
    }
  }

  /// Moves a job from one of `from` to `to`, with an event of it. A final state drops its checkpoints and inline rows.
  ///
  /// - Throws: `.jobState` where it stands elsewhere.
  public func transition(
    _ id: String, from: [String], to: String, event: String, errorCode: String? = nil,
    errorDetail: String? = nil
  ) async throws(StoreError) -> JobRecord {
    let at = now()
    return try await write(.transition) { database in
      let job = try Self.job(database, id)
      guard from.contains(job.state) else { throw StoreError.jobState(job.state) }
      let isFinal = ["succeeded", "failed", "cancelled"].contains(to)
      try database.execute(
        sql: """
          UPDATE jobs SET state = ?, error_code = ?, error_detail = ?,
            started_at = CASE WHEN ? = 'running' THEN coalesce(started_at, ?) ELSE started_at END,
            finished_at = CASE WHEN ? THEN ? END WHERE id = ?
          """, arguments: [to, errorCode, errorDetail, to, at, isFinal, at, id])
      if isFinal { try Self.forgetWork(database, id) }
      try Self.append(database, id, "state", event, at: at)
      return try Self.job(database, id)
    }
  }

  /// Writes progress and one event of it. It survives the process; a power cut may take the last ones, and what they
  /// told is told again as the job goes on from its checkpoint.
  public func record(
    _ progress: JobProgress, kind: String, event: String, of job: String
  ) async throws(StoreError) {
    let at = now()
    try await write(.event, isDurable: false) { database in
      try Self.update(database, job, progress)
      let id = try Self.append(database, job, kind, event, at: at)
      if id % 64 == 0 {
        try database.execute(
          sql: """
            DELETE FROM job_events WHERE job = ? AND kind IN ('step', 'checkpoint') AND id <= ?
            """, arguments: [job, id - Int64(Self.keptProgressEvents)])
      }
    }
  }

  /// Keeps a checkpoint and the one before it, with the progress that belongs to it; without a loss, with the job's last.
  public func checkpoint(
    _ bytes: [UInt8], step: Int, progress: JobProgress, of job: String
  ) async throws(StoreError) {
    let at = now()
    try await write(.checkpoint) { database in
      try database.execute(
        sql: """
          INSERT OR REPLACE INTO checkpoints
          VALUES (:job, :step, :bytes, :at, coalesce(:loss, (SELECT loss FROM jobs WHERE id = :job)))
          """, arguments: ["job": job, "step": step, "bytes": Data(bytes), "at": at, "loss": progress.loss])
      try database.execute(
        sql: """
          DELETE FROM checkpoints WHERE job = :job AND step NOT IN
            (SELECT step FROM checkpoints WHERE job = :job ORDER BY step DESC LIMIT 2)
          """, arguments: ["job": job])
      try Self.update(database, job, progress)
      try Self.append(database, job, "checkpoint", #"{"step":\#(step)}"#, at: at)
    }
  }

  public func latestCheckpoint(of job: String) async throws(StoreError) -> [UInt8]? {
    try await read { database in
      try Data.fetchOne(
        database, sql: "SELECT bytes FROM checkpoints WHERE job = ? ORDER BY step DESC LIMIT 1",
        arguments: [job]
      ).map { [UInt8]($0) }
    }
  }

  /// Events after an id, oldest first.
  public func events(of job: String, after id: Int64, limit: Int) async throws(StoreError) -> [EventRecord] {
    try await read { database in
      _ = try Self.job(database, job)
      return try Row.fetchAll(
        database, sql: "SELECT * FROM job_events WHERE job = ? AND id > ? ORDER BY id LIMIT ?",
        arguments: [job, id, limit]
      ).map(EventRecord.init)
    }
  }

  /// Events before an id, newest first.
  public func events(
    of job: String, before id: Int64, limit: Int
  ) async throws(StoreError) -> [EventRecord] {
    try await read { database in
      _ = try Self.job(database, job)
      return try Row.fetchAll(
        database, sql: "SELECT * FROM job_events WHERE job = ? AND id < ? ORDER BY id DESC LIMIT ?",
        arguments: [job, id, limit]
      ).map(EventRecord.init)
    }
  }

  /// The checkpoints that are kept, newest first: none once the job has ended.
  public func checkpoints(of job: String) async throws(StoreError) -> [CheckpointRecord] {
    try await read { database in
      _ = try Self.job(database, job)
      return try Row.fetchAll(
        database, sql: "SELECT step, at, loss FROM checkpoints WHERE job = ? ORDER BY step DESC",
        arguments: [job]
      ).map { CheckpointRecord(step: $0["step"], at: $0["at"], loss: $0["loss"]) }
    }
  }

  /// Drops what only a job that goes on needs: its checkpoints, and its rows where they came with the request.
  static func forgetWork(_ database: Database, _ job: String) throws {
    try database.execute(sql: "DELETE FROM checkpoints WHERE job = ?", arguments: [job])
    try database.execute(
      sql: "DELETE FROM datasets WHERE is_inline = 1 AND id = (SELECT dataset FROM jobs WHERE id = ?)",
      arguments: [job])
  }

  private static func update(_ database: Database, _ job: String, _ progress: JobProgress) throws {
    try database.execute(
      sql: """
        UPDATE jobs SET progress = ?, epoch = ?, step = ?, steps = ?, loss = coalesce(?, loss), examples_per_second = ?,
          seconds_left = ?, metrics = coalesce(?, metrics) WHERE id = ?
        """,
      arguments: [
        progress.progress, progress.epoch, progress.step, progress.steps, progress.loss,
        progress.examplesPerSecond, progress.secondsLeft, progress.metrics, job,
      ])
  }

  private static func job(
    _ database: Database, _ key: String, _ creator: String, _ digest: String?
  ) throws -> JobRecord? {
    let known = try Row.fetchOne(
      database, sql: "SELECT * FROM jobs WHERE created_by = ? AND idempotency_key = ?",
      arguments: [creator, key])
    guard let known else { return nil }
    guard known["request_digest"] as String? == digest else { throw StoreError.idempotencyConflict }
    return JobRecord(row: known)
  }

  private static func job(_ database: Database, _ id: String) throws -> JobRecord {
    let row = try Row.fetchOne(database, sql: "SELECT * FROM jobs WHERE id = ?", arguments: [id])
    guard let row else { throw StoreError.notFound(.job, id: id) }
    return JobRecord(row: row)
  }

  @discardableResult
  static func append(
    _ database: Database, _ job: String, _ kind: String, _ data: String, at: Int64
  ) throws -> Int64 {
    let last =
      try Int64.fetchOne(database, sql: "SELECT max(id) FROM job_events WHERE job = ?", arguments: [job]) ?? 0
    try database.execute(
      sql: "INSERT INTO job_events VALUES (?, ?, ?, ?, ?)", arguments: [job, last + 1, kind, data, at])
    return last + 1
  }
}
