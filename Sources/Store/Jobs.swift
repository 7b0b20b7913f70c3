internal import GRDB

extension Store {
  /// Accepts a job as `queued`, with its inline data, durably.
  ///
  /// An idempotency key that the same principal used before answers the job it made then (its upload is
  /// dropped), or throws ``StoreError/idempotencyConflict(job:)`` when the request was another.
  /// - Returns: the job, and whether this call made it.
  public func insertJob(_ new: NewJob) async throws(StoreError) -> (job: JobRecord, isNew: Bool) {
    guard new.datasetID == nil || new.inlineUpload == nil else { throw .invalid(field: "datasetID") }
    let options = options
    return try await write(before: .jobBeforeCommit, after: .jobAfterCommit) { db in
      if let earlier = try Store.earlierJob(db, new) {
        if let upload = new.inlineUpload {
          try db.execute(
            sql: "DELETE FROM datasets WHERE id = ? AND committed_at IS NULL", arguments: [upload])
        }
        return (earlier, false)
      }
      let now = options.now()
      let id = options.makeID("job_")
      if let dataset = new.datasetID { _ = try Store.datasetRow(db, dataset) }
      if let upload = new.inlineUpload {
        _ = try Store.commitUpload(db, upload, summary: new.inlineSummaryJSON, owner: id, now: now)
      }
      try db.execute(
        sql: """
          INSERT INTO jobs (id, type, state, task, base, method, dataset, settings, created_by, created_at,
            updated_at)
          VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          id, new.type.rawValue, new.task, new.base, new.method, new.datasetID ?? new.inlineUpload,
          new.settingsJSON, new.createdBy, now, now,
        ])
      if let idempotency = new.idempotency {
        try db.execute(
          sql: """
            INSERT INTO idempotency (created_by, key, request_hash, job, created_at) VALUES (?, ?, ?, ?, ?)
            """, arguments: [new.createdBy, idempotency.key, idempotency.requestHash, id, now])
      }
      try Store.appendState(db, id, .queued, by: new.createdBy, options: options)
      return (try Store.jobRecord(db, id), true)
    }
  }

  /// One job.
  public func job(_ id: String) async throws(StoreError) -> JobRecord {
    try await read { db in try Store.jobRecord(db, id) }
  }

  /// Newest first, all or those of a state, of a task, or of both; `after` is the id of the last one seen.
  public func jobs(
    state: JobState? = nil, task: String? = nil, limit: Int, after: String? = nil
  ) async throws(StoreError) -> [JobRecord] {
    try await read { db in
      let start = try Store.sequence(db, table: "jobs", kind: .job, id: after)
      var conditions = "sequence < ?"
      var arguments: StatementArguments = [start]
      if let state {
        conditions += " AND state = ?"
        arguments += [state.rawValue]
      }
      if let task {
        conditions += " AND task = ?"
        arguments += [task]
      }
      return try Row.fetchAll(
        db, sql: "SELECT * FROM jobs WHERE \(conditions) ORDER BY sequence DESC LIMIT ?",
        arguments: arguments + [limit]
      ).map(JobRecord.init)
    }
  }

  /// Every queued, running or paused job, oldest first: what a daemon takes up when it starts.
  public func liveJobs() async throws(StoreError) -> [JobRecord] {
    try await read { db in
      try Row.fetchAll(
        db,
        sql: "SELECT * FROM jobs WHERE state IN ('queued', 'running', 'paused') ORDER BY sequence"
      ).map(JobRecord.init)
    }
  }

  /// Moves a job to `next` if it stands in one of `from` (nil: in any state that has that edge) and appends
  /// the state event, in one durable transaction. A terminal state drops the job's checkpoints.
  /// - Throws: ``StoreError/jobState(state:)`` with the state it is in, ``StoreError/notFound(_:id:)``.
  @discardableResult
  public func transitionJob(
    _ id: String, from: Set<JobState>? = nil, to next: JobState, errorJSON: String? = nil,
    metricsJSON: String? = nil, createdBy: String
  ) async throws(StoreError) -> JobRecord {
    let options = options
    return try await write(before: .jobBeforeCommit, after: .jobAfterCommit) { db in
      let state = try Store.jobRecord(db, id).state
      guard from?.contains(state) ?? true, state.mayBecome(next) else {
        throw StoreError.jobState(state: state)
      }
      try Store.move(
        db, id, to: next, result: JobResult(metricsJSON: metricsJSON), error: errorJSON, by: createdBy,
        options: options)
      return try Store.jobRecord(db, id)
    }
  }

  // MARK: - Inside a transaction

  static func jobRecord(_ db: Database, _ id: String) throws -> JobRecord {
    guard let row = try Row.fetchOne(db, sql: "SELECT * FROM jobs WHERE id = ?", arguments: [id]) else {
      throw StoreError.notFound(.job, id: id)
    }
    return try JobRecord(row)
  }

  private static func earlierJob(_ db: Database, _ new: NewJob) throws -> JobRecord? {
    guard let idempotency = new.idempotency else { return nil }
    let row = try Row.fetchOne(
      db, sql: "SELECT request_hash, job FROM idempotency WHERE created_by = ? AND key = ?",
      arguments: [new.createdBy, idempotency.key])
    guard let row else { return nil }
    guard row["request_hash"] == idempotency.requestHash else {
      throw StoreError.idempotencyConflict(job: row["job"])
    }
    return try jobRecord(db, row["job"])
  }

  private static func move(
    _ db: Database, _ id: String, to next: JobState, result: JobResult, error: String? = nil, by: String,
    options: StoreOptions
  ) throws {
    let now = options.now()
    try db.execute(
      sql: """
        UPDATE jobs SET state = ?1, updated_at = ?2, error = coalesce(?3, error),
          metrics = coalesce(?4, metrics), result_version = coalesce(?5, result_version),
          result_subspace = coalesce(?6, result_subspace),
          fraction = CASE WHEN ?1 = 'succeeded' THEN 1.0 ELSE fraction END,
          started_at = CASE WHEN ?1 = 'running' THEN coalesce(started_at, ?2) ELSE started_at END,
          finished_at = CASE WHEN ?7 THEN ?2 ELSE NULL END
        WHERE id = ?8
        """,
      arguments: [
        next.rawValue, now, error, result.metricsJSON, result.version, result.subspace, next.isTerminal, id,
      ])
    try appendState(db, id, next, by: by, options: options)
    if next.isTerminal {
      try db.execute(
        sql: "DELETE FROM checkpoints WHERE job = (SELECT sequence FROM jobs WHERE id = ?)",
        arguments: [id])
    }
  }

  /// The last transition of a running job, inside the transaction that stores what it made.
  static func completeJob(
    _ db: Database, _ id: String, result: JobResult, by: String, options: StoreOptions
  ) throws {
    let state = try jobRecord(db, id).state
    guard state == .running else { throw StoreError.jobState(state: state) }
    try move(db, id, to: .succeeded, result: result, by: by, options: options)
  }

  /// The version that a succeeded job published.
  static func publishedVersion(_ db: Database, job: String) throws -> Int? {
    let record = try jobRecord(db, job)
    return record.state == .succeeded ? record.resultVersion : nil
  }

  private static func appendState(
    _ db: Database, _ id: String, _ state: JobState, by: String, options: StoreOptions
  ) throws {
    let event = NewEvent(
      kind: JobEvent.stateKind, contentJSON: "{\"state\":\"\(state.rawValue)\"}", isProgress: false)
    _ = try append(db, event, to: id, by: by, options: options)
  }

  /// A job that was running when the process ended goes on from its last checkpoint.
  static func requeueRunningJobs(_ db: Database, options: StoreOptions) throws {
    for id in try String.fetchAll(db, sql: "SELECT id FROM jobs WHERE state = 'running'") {
      try db.execute(sql: "UPDATE jobs SET resumptions = resumptions + 1 WHERE id = ?", arguments: [id])
      try move(db, id, to: .queued, result: JobResult(), by: JobEvent.systemPrincipal, options: options)
    }
  }
}
