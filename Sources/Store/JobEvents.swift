internal import GRDB

/// Something that happened to a job, as it is written.
public struct NewEvent: Sendable, Equatable {
  public var kind: String
  public var contentJSON: String
  /// May be dropped when the job has more such events than ``StoreOptions/eventLimit``.
  public var isProgress: Bool

  public init(kind: String, contentJSON: String, isProgress: Bool) {
    self.kind = kind
    self.contentJSON = contentJSON
    self.isProgress = isProgress
  }
}

/// One event of a job's stream.
public struct JobEvent: Sendable, Equatable {
  /// Increasing within its job from 1; what `Last-Event-ID` carries.
  public let id: Int
  public let kind: String
  public let contentJSON: String
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64

  /// The kind of the events that every state change appends; their content is `{"state": "…"}`.
  public static let stateKind = "state"
  /// `created_by` of what the store does by itself when it opens.
  public static let systemPrincipal = "system"

  init(_ row: Row) {
    id = row["id"]
    kind = row["kind"]
    contentJSON = row["content"]
    createdAt = row["created_at"]
  }
}

extension Store {
  /// Appends an event and, in the same transaction, writes how far the job is. Reaches the disk with the
  /// next durable commit: a crash of the machine may lose the newest events, a crash of the process none.
  /// - Returns: the event's id.
  @discardableResult
  public func appendEvent(
    _ event: NewEvent, job: String, progress: JobProgress? = nil, createdBy: String
  ) async throws(StoreError) -> Int {
    let options = options
    return try await write(.normal, before: .eventBeforeCommit, after: .eventAfterCommit) { db in
      let id = try Store.append(db, event, to: job, by: createdBy, options: options)
      if let progress { try Store.setProgress(db, job, progress, now: options.now()) }
      return id
    }
  }

  /// Events after the id `after`, oldest first.
  public func events(job: String, after: Int = 0, limit: Int) async throws(StoreError) -> [JobEvent] {
    try await read { db in
      let key = try Store.jobKey(db, job)
      return try Row.fetchAll(
        db, sql: "SELECT * FROM job_events WHERE job = ? AND id > ? ORDER BY id LIMIT ?",
        arguments: [key, after, limit]
      ).map(JobEvent.init)
    }
  }

  // MARK: - Inside a transaction

  static func jobKey(_ db: Database, _ id: String) throws -> Int64 {
    guard let key = try Int64.fetchOne(db, sql: "SELECT sequence FROM jobs WHERE id = ?", arguments: [id])
    else { throw StoreError.notFound(.job, id: id) }
    return key
  }

  static func append(
    _ db: Database, _ event: NewEvent, to job: String, by: String, options: StoreOptions
  ) throws -> Int {
    let row = try Row.fetchOne(
      db, sql: "SELECT sequence, last_event, progress_events FROM jobs WHERE id = ?", arguments: [job])
    guard let row else { throw StoreError.notFound(.job, id: job) }
    let key: Int64 = row["sequence"]
    let id = (row["last_event"] as Int) + 1
    let kept = (row["progress_events"] as Int) + (event.isProgress ? 1 : 0)
    try db.execute(
      sql: """
        INSERT INTO job_events (job, id, kind, is_progress, content, created_by, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
      arguments: [key, id, event.kind, event.isProgress, event.contentJSON, by, options.now()])
    let excess = max(0, kept - options.eventLimit)
    if excess > 0 {
      try db.execute(
        sql: """
          DELETE FROM job_events WHERE job = ?1 AND id IN
            (SELECT id FROM job_events WHERE job = ?1 AND is_progress = 1 ORDER BY id LIMIT ?2)
          """, arguments: [key, excess])
    }
    try db.execute(
      sql: "UPDATE jobs SET last_event = ?, progress_events = ? WHERE sequence = ?",
      arguments: [id, kept - excess, key])
    return id
  }

  private static func setProgress(_ db: Database, _ job: String, _ progress: JobProgress, now: Int64) throws {
    func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }
    try db.execute(
      sql: """
        UPDATE jobs SET fraction = ?, epoch = ?, step = ?, steps = ?, loss = ?, examples_per_second = ?,
          seconds_left = ?, updated_at = ?
        WHERE id = ?
        """,
      arguments: [
        finite(progress.fraction) ?? 0, progress.epoch, progress.step, progress.steps, finite(progress.loss),
        finite(progress.examplesPerSecond), finite(progress.secondsLeft), now, job,
      ])
  }
}
