import Foundation
import GRDB
import Testing

@testable import Store

@Suite struct JobTests {
  @Test func aDatasetIsVisibleOnceCompleteAndGoneIfNot() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let kept = try await store.beginDataset(name: "kept", kind: "classification", isInline: false, by: "t")
    let lost = try await store.beginDataset(name: "lost", kind: "classification", isInline: false, by: "t")
    let inline = try await store.beginDataset(name: "", kind: "classification", isInline: true, by: "t")
    for id in [kept, lost, inline] {
      try await store.appendRows([1], count: 1, to: id)
      try await store.appendRows([2, 3], count: 2, to: id)
      await #expect(throws: StoreError.notFound(.dataset, id: id)) { try await store.dataset(id) }
    }
    let record = try await store.completeDataset(kept)
    #expect(record.rows == 3 && record.byteCount == 3)
    await #expect(throws: StoreError.notFound(.dataset, id: kept)) {
      try await store.appendRows([1], count: 1, to: kept)
    }
    let job = try await store.insert(newJob(dataset: inline)).job
    try store.close()
    let again = try place.open()
    #expect(try await again.datasets(after: nil, limit: 10) == [record])
    #expect(try await again.rows(of: kept) == [[1], [2, 3]])
    #expect(try await again.rows(of: inline).count == 2)
    for (row, bytes, next) in [(0, [1], 1), (1, [2, 3], 3)] as [(Int, [UInt8], Int)] {
      let batch = try #require(try await again.batch(of: kept, at: row))
      #expect(batch.bytes == bytes && batch.next == next)
    }
    #expect(try await again.batch(of: kept, at: 3) == nil)
    await #expect(throws: StoreError.notFound(.dataset, id: lost)) {
      _ = try await again.batch(of: lost, at: 0)
    }
    await #expect(throws: StoreError.notFound(.dataset, id: lost)) { try await again.dataset(lost) }
    await #expect(throws: StoreError.inUse("job \(job.id)")) { try await again.deleteDataset(inline) }
    try await again.deleteDataset(kept)
    #expect(try await again.verify(digest: testDigest).isEmpty)
  }

  @Test func anIdempotencyKeyMakesOneJob() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let first = try await store.insert(newJob(key: "k", digest: "d"))
    let second = try await store.insert(newJob(key: "k", digest: "d"))
    #expect(first.isNew && !second.isNew && first.job.id == second.job.id)
    await #expect(throws: StoreError.idempotencyConflict) {
      try await store.insert(newJob(key: "k", digest: "other"))
    }
    #expect(try await store.insert(newJob(key: "k", digest: "other", by: "somebody else")).isNew)
    await #expect(throws: StoreError.notFound(.dataset, id: "ds_none")) {
      try await store.insert(newJob(dataset: "ds_none"))
    }
  }

  @Test func noMoreJobsAreQueuedThanMay() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let known = try await store.insert(newJob(key: "k", digest: "d"), limit: 2).job.id
    let full = StoreError.queueFull(JobQueueFigures(queued: 2, secondsUntilNext: nil), limit: 2)
    let refused = await withTaskGroup(of: StoreError?.self, returning: [StoreError].self) { group in
      for _ in 0..<8 {
        group.addTask {
          do throws(StoreError) {
            _ = try await store.insert(newJob(), limit: 2)
            return nil
          } catch {
            return error
          }
        }
      }
      var refused: [StoreError] = []
      for await case let error? in group { refused.append(error) }
      return refused
    }
    #expect(refused == Array(repeating: full, count: 7))
    // What was accepted stays accepted; a job that runs leaves its place.
    #expect(try await store.insert(newJob(key: "k", digest: "d"), limit: 2).job.id == known)
    _ = try await store.transition(known, from: ["queued"], to: "running", event: "{}")
    #expect(try await store.insert(newJob(), limit: 2).isNew)
  }

  @Test func eventsGoBackwardsInPagesAndCheckpointsAreListed() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let job = try await store.insert(newJob()).job.id
    _ = try await store.transition(job, from: ["queued"], to: "running", event: "{}")
    for step in 1...3 {
      let progress = JobProgress(progress: 0.5, step: step, loss: Double(step))
      try await store.checkpoint([UInt8(step)], step: step, progress: progress, of: job)
    }
    let all = try await store.events(of: job, after: 0, limit: 9)
    #expect(all.map(\.id) == [1, 2, 3, 4, 5] && all.map(\.at) == all.map(\.at).sorted())
    #expect(try await store.events(of: job, before: .max, limit: 2) == Array(all[3...].reversed()))
    #expect(try await store.events(of: job, before: 4, limit: 9) == Array(all[..<3].reversed()))
    let kept = try await store.checkpoints(of: job)
    #expect(kept.map(\.step) == [3, 2] && kept.map(\.loss) == [3, 2] && kept[0].at > kept[1].at)
    #expect(kept.map(\.at) == all[3...].map(\.at).reversed())
    await #expect(throws: StoreError.notFound(.job, id: "none")) {
      _ = try await store.events(of: "none", before: 9, limit: 9)
    }
    await #expect(throws: StoreError.notFound(.job, id: "none")) {
      _ = try await store.checkpoints(of: "none")
    }
    #expect(try await store.jobs(type: "train", state: nil, task: nil, after: nil, limit: 9).count == 1)
    #expect(try await store.jobs(type: "subspace", state: nil, task: nil, after: nil, limit: 9).isEmpty)
  }

  @Test func progressWithoutALossLeavesTheLast() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let job = try await store.insert(newJob()).job.id
    let step = JobProgress(progress: 0.5, step: 1, loss: 0.25)
    try await store.record(step, kind: "step", event: "{}", of: job)
    // As a job that is paused keeps where it is.
    try await store.checkpoint([1], step: 1, progress: JobProgress(progress: 0.5, step: 1), of: job)
    #expect(try await store.job(job).loss == 0.25)
    #expect(try await store.checkpoints(of: job).map(\.loss) == [0.25])
    let next = JobProgress(progress: 1, step: 2, loss: 0.125)
    try await store.checkpoint([2], step: 2, progress: next, of: job)
    #expect(try await store.job(job).loss == 0.125)
    #expect(try await store.checkpoints(of: job).map(\.loss) == [0.125, 0.25])
  }

  @Test func oneOfManyWinsATransition() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let job = try await store.insert(newJob()).job.id
    let wins = await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<16 {
        group.addTask {
          (try? await store.transition(job, from: ["queued"], to: "running", event: "{}")) != nil
        }
      }
      var wins = 0
      for await won in group where won { wins += 1 }
      return wins
    }
    #expect(wins == 1)
    await #expect(throws: StoreError.jobState("running")) {
      try await store.transition(job, from: ["queued"], to: "cancelled", event: "{}")
    }
    #expect(try await store.events(of: job, after: 0, limit: 10).map(\.id) == [1, 2])
  }

  @Test func aRunningJobIsQueuedAgainWithItsLastCheckpoint() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let job = try await store.insert(newJob()).job.id
    _ = try await store.transition(job, from: ["queued"], to: "running", event: "{}")
    for step in [10, 20, 30] {
      let progress = JobProgress(progress: 0.3, step: step, loss: 0.5)
      try await store.checkpoint([UInt8(step)], step: step, progress: progress, of: job)
    }
    try store.close()
    let again = try place.open()
    let record = try await again.job(job)
    #expect(record.state == "queued" && record.step == 30 && record.progress == 0.3)
    #expect(try await again.latestCheckpoint(of: job) == [30])
    let kept = try await again.read {
      try Int.fetchAll($0, sql: "SELECT step FROM checkpoints ORDER BY step")
    }
    #expect(kept == [20, 30])
    _ = try await again.transition(job, from: ["queued"], to: "cancelled", event: "{}")
    #expect(try await again.latestCheckpoint(of: job) == nil)
  }

  @Test func aJobThatEndsTheDaemonAtEveryStartFails() async throws {
    let place = try TemporaryStore()
    var store = try place.open()
    let rows = try await store.beginDataset(name: "", kind: "classification", isInline: true, by: "t")
    try await store.appendRows([1], count: 1, to: rows)
    let job = try await store.insert(newJob(dataset: rows)).job.id
    for ends in 1...Store.endsWithoutProgress {
      #expect(try await store.nextQueuedJob(base: "base")?.id == job)
      _ = try await store.transition(job, from: ["queued"], to: "running", event: #"{"state":"running"}"#)
      // The same step in every life.
      try await store.record(
        JobProgress(progress: 0, step: 1), kind: "step", event: #"{"step":1}"#, of: job)
      try store.close()
      store = try place.open()
      let last = try await store.events(of: job, after: 0, limit: 99).last?.data
      let isLast = ends == Store.endsWithoutProgress
      #expect(last == (isLast ? #"{"state":"failed"}"# : #"{"crashes":\#(ends),"state":"queued"}"#))
    }
    #expect(store.crashedJobs == [job])
    let record = try await store.job(job)
    #expect(record.state == "failed" && record.errorCode == "crashed" && record.finishedAt != nil)
    #expect(record.errorDetail == "The daemon ended 8 times while the job ran and got no further.")
    #expect(try await store.nextQueuedJob(base: "base") == nil)
    await #expect(throws: StoreError.notFound(.dataset, id: rows)) { try await store.dataset(rows) }
    #expect(try await store.verify(digest: testDigest).isEmpty)
  }

  @Test func aStepFurtherAndAnEndInOrderAreNoCrash() async throws {
    let place = try TemporaryStore()
    var store = try place.open()
    let job = try await store.insert(newJob()).job.id
    let lives = 2 * Store.endsWithoutProgress - 1
    for life in 1...lives {
      _ = try await store.transition(job, from: ["queued"], to: "running", event: #"{"state":"running"}"#)
      if life == Store.endsWithoutProgress {
        try await store.record(
          JobProgress(progress: 0.5, step: 2), kind: "step", event: #"{"step":2}"#, of: job)
      }
      try store.close()
      store = try place.open()
      #expect(try await store.job(job).state == (life < lives ? "queued" : "failed"))
    }
    let other = try await store.insert(newJob()).job.id
    for _ in 0...Store.endsWithoutProgress {
      _ = try await store.transition(other, from: ["queued"], to: "running", event: #"{"state":"running"}"#)
      _ = try await store.transition(other, from: ["running"], to: "queued", event: #"{"state":"queued"}"#)
      try store.close()
      store = try place.open()
    }
    #expect(try await store.job(other).state == "queued")
  }

  @Test func publishingEndsTheJobInTheSameTransaction() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let job = try await store.insert(newJob()).job.id
    let new = newVersion(job: job)
    await #expect(throws: StoreError.self) { try await store.publish(new, activation: .always) }
    #expect(try await store.taskCount() == 0)
    _ = try await store.transition(job, from: ["queued"], to: "running", event: "{}")
    _ = try await store.publish(new, activation: .always, finalEvent: #"{"version":$version}"#)
    let record = try await store.job(job)
    #expect(record.state == "succeeded" && record.version == 1 && record.progress == 1)
    #expect(try await store.events(of: job, after: 2, limit: 9).map(\.data) == [#"{"version":1}"#])
    await #expect(throws: StoreError.self) { try await store.publish(new, activation: .always) }
    #expect(try await store.versions(of: "tickets").count == 1)
  }

  @Test func oldProgressGoesAndStateChangesStay() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let job = try await store.insert(newJob()).job.id
    let total = Store.keptProgressEvents + 200
    for step in 1...total {
      try await store.record(JobProgress(progress: 0, step: step), kind: "step", event: "{}", of: job)
    }
    let events = try await store.events(of: job, after: 0, limit: 2 * total)
    #expect(events.first?.kind == "state" && events.last?.id == Int64(total + 1))
    #expect(events.count <= Store.keptProgressEvents + 65)
    #expect(zip(events, events.dropFirst()).allSatisfy { $0.id < $1.id })
  }

  @Test func theRowsThatCameWithAJobGoWhenItEnds() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    func start() async throws -> (job: String, rows: String) {
      let rows = try await store.beginDataset(name: "", kind: "k", isInline: true, by: "t")
      try await store.appendRows([1], count: 1, to: rows)
      let job = try await store.insert(newJob(dataset: rows)).job.id
      _ = try await store.transition(job, from: ["queued"], to: "running", event: "{}")
      return (job, rows)
    }
    let (cancelled, first) = try await start()
    _ = try await store.transition(cancelled, from: ["running"], to: "paused", event: "{}")
    #expect(try await store.rows(of: first) == [[1]])
    _ = try await store.transition(cancelled, from: ["paused"], to: "cancelled", event: "{}")
    #expect(try await store.rows(of: first).isEmpty)
    let (published, second) = try await start()
    #expect(try await store.rows(of: second) == [[1]])
    _ = try await store.publish(newVersion(job: published), activation: .always, finalEvent: "{}")
    #expect(try await store.rows(of: second).isEmpty)
    // What was uploaded by itself stays.
    let kept = try await store.beginDataset(name: "kept", kind: "k", isInline: false, by: "t")
    try await store.appendRows([1], count: 1, to: kept)
    _ = try await store.completeDataset(kept)
    let third = try await store.insert(newJob(dataset: kept)).job.id
    _ = try await store.transition(third, from: ["queued"], to: "failed", event: "{}")
    #expect(try await store.rows(of: kept) == [[1]])
    #expect(try await store.verify(digest: testDigest).isEmpty)
  }

  @Test func aTaskThatAJobWillPublishToIsNotDeleted() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    _ = try await store.publish(newVersion(), activation: .always)
    let job = try await store.insert(newJob()).job.id
    await #expect(throws: StoreError.inUse("job \(job)")) { try await store.deleteTask("tickets") }
    _ = try await store.transition(job, from: ["queued"], to: "cancelled", event: "{}")
    try await store.deleteTask("tickets")
    #expect(try await store.taskCount() == 0)
  }

  @Test func dataSetsAreListedNewestFirstAndACursorOutlivesItsRow() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    var ids: [String] = []
    for index in 0..<6 {
      let id = try await store.beginDataset(name: "\(index)", kind: "k", isInline: false, by: "t")
      ids.append(try await store.completeDataset(id).id)
    }
    let page = try await store.datasets(after: nil, limit: 3).map(\.id)
    #expect(page == [ids[5], ids[4], ids[3]])
    try await store.deleteDataset(ids[3])
    #expect(try await store.datasets(after: ids[3], limit: 9).map(\.id) == [ids[2], ids[1], ids[0]])
  }

  /// SQLite's own words: 2 is FULL, 1 is NORMAL.
  @Test func progressAloneIsNotFlushed() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    func level() async throws -> Int? {
      try await store.pool.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") }
    }
    let job = try await store.insert(newJob()).job.id
    #expect(try await level() == 2)
    try await store.record(JobProgress(progress: 0, step: 1), kind: "step", event: "{}", of: job)
    #expect(try await level() == 1)
    try await store.checkpoint([1], step: 1, progress: JobProgress(progress: 0, step: 1), of: job)
    #expect(try await level() == 2)
  }

  @Test func jobsAreListedNewestFirst() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    var ids: [String] = []
    for index in 0..<6 { ids.append(try await store.insert(newJob(task: "t\(index % 2)")).job.id) }
    let page = try await store.jobs(state: nil, task: nil, after: nil, limit: 4).map(\.id)
    #expect(page == Array(ids.reversed().prefix(4)))
    let rest = try await store.jobs(state: nil, task: nil, after: page.last, limit: 4).map(\.id)
    #expect(rest == [ids[1], ids[0]])
    #expect(try await store.jobs(state: "queued", task: "t1", after: nil, limit: 9).count == 3)
    #expect(try await store.nextQueuedJob(base: "base")?.id == ids[0])
    #expect(try await store.nextQueuedJob(base: "another") == nil)
    #expect(try await store.strangeJobCount(base: "another") == 6)
    #expect(try await store.jobCounts() == ["queued": 6])
  }
}
