internal import GRDB

extension Store {
  /// Ends of the daemon without a step further at which a job fails. Kills from outside seldom come before a job's next
  /// new step, and do not do so eight times in a row.
  static let endsWithoutProgress = 8

  /// Queues the jobs that ran as the daemon ended without order, with an event that counts these ends since the job's last
  /// step further. A job that reached `endsWithoutProgress` ends the daemon, most likely, and has failed.
  ///
  /// - Returns: those.
  static func recoverJobs(_ database: Database, at: Int64) throws -> [String] {
    var failed: [String] = []
    for job in try String.fetchAll(database, sql: "SELECT id FROM jobs WHERE state = 'running'") {
      let ends = try crashesSinceProgress(database, job) + 1
      guard ends >= endsWithoutProgress else {
        try database.execute(sql: "UPDATE jobs SET state = 'queued' WHERE id = ?", arguments: [job])
        try append(database, job, "state", #"{"crashes":\#(ends),"state":"queued"}"#, at: at)
        continue
      }
      try database.execute(
        sql: """
          UPDATE jobs SET state = 'failed', error_code = 'crashed', error_detail = ?, finished_at = ? WHERE id = ?
          """,
        arguments: ["The daemon ended \(ends) times while the job ran and got no further.", at, job])
      try forgetWork(database, job)
      try append(database, job, "state", #"{"state":"failed"}"#, at: at)
      failed.append(job)
    }
    return failed
  }

  /// Steps that a job goes through again after its last checkpoint are no progress: what counts is the first event of its
  /// highest step.
  private static func crashesSinceProgress(_ database: Database, _ job: String) throws -> Int {
    try Int.fetchOne(
      database,
      sql: """
        SELECT count(*) FROM job_events WHERE job = :job AND kind = 'state' AND data ->> 'crashes' > 0
          AND id > coalesce((SELECT id FROM job_events WHERE job = :job AND kind IN ('step', 'checkpoint')
            ORDER BY data ->> 'step' DESC, id LIMIT 1), 0)
        """, arguments: ["job": job]) ?? 0
  }
}
