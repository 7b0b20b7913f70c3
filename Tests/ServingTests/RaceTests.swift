import Adapters
import Engine
import Foundation
import GRDB
import Models
import Testing
import Tokenizers
import Training

@testable import Serving
@testable import Store

/// What several callers do at once, and what is left when they have gone.
@Suite(.serialized) struct RaceTests {
  @Test func cancelledRequestsLeaveNothingBehind() async throws {
    try await withNode { node in
      for delay in 0..<200 {
        let request = Task {
          try await node.infer(
            task: "base", inputs: InferenceInputs(["a text"]),
            options: InferenceOptions(), timeoutMilliseconds: nil, principal: .anonymous)
        }
        // Before it is queued, while it waits or runs, and when it has its answer.
        try await Task.sleep(for: .microseconds(delay * 20))
        request.cancel()
        _ = await request.result
      }
      #expect(node.scheduler.open == 0)
      #expect(node.scheduler.depth == 0)
    }
  }

  @Test func nothingWaitsForASchedulerThatHasEnded() async throws {
    try await withNode { node in
      let executor = BatchExecutor(base: node.model, lanes: node.lanes)
      let scheduler = InferenceScheduler(
        compute: { executor.run($0.flatMap(\.rows), primary: nil, done: $1) }, queueRows: 8, batchTokens: 64)
      @Sendable func ask(_ rows: Int) async throws -> Int {
        try await scheduler.run([.of("base", rows)], principal: "p", deadline: .max, limitMilliseconds: 1)
          .predictions.count
      }
      let none = try await ask(0)
      #expect(none == 0)
      let one = try await ask(1)
      #expect(one == 1)
      let serving = Task { await scheduler.serve() }
      serving.cancel()
      await serving.value
      await #expect {
        _ = try await ask(1)
      } throws: { error in
        guard case .draining = error as? ServingError else { return false }
        return true
      }
      #expect(scheduler.open == 0)
    }
  }

  @Test func loadNamesWhoRunsAndWhoWaits() async throws {
    // Batches of one row that end when the test says so.
    let begun = AsyncStream.makeStream(of: (@Sendable ([Prediction]) -> Void).self)
    let scheduler = InferenceScheduler(
      compute: { _, done in begun.continuation.yield(done) }, queueRows: 8, batchTokens: 2)
    @Sendable func ask(_ task: String, rows: Int) async throws -> Int {
      try await scheduler.run([.of(task, rows)], principal: "p", deadline: .max, limitMilliseconds: 1)
        .predictions.count
    }
    var batches = begun.stream.makeAsyncIterator()
    async let first = ask("a", rows: 2)
    let end = try #require(await batches.next())
    async let second = ask("b", rows: 1)
    while scheduler.depth < 2 { await Task.yield() }
    let load = scheduler.load
    // The second row of `a` waits, its request runs.
    #expect(load.requestsRunning == 1 && load.requestsWaiting == 1)
    #expect(load.tasksRunning == ["a"] && load.tasksWaiting == ["a", "b"])
    end([.embedding([])])
    for _ in 0..<2 {
      let end = try #require(await batches.next())
      end([.embedding([])])
    }
    let answered = try await [first, second]
    #expect(answered == [2, 1])
    let after = scheduler.load
    #expect(after.requestsRunning + after.requestsWaiting == 0)
    #expect(after.tasksRunning.isEmpty && after.tasksWaiting.isEmpty)
  }

  @Test func jobsThatComeTogetherKeepTheBoundOfTheQueue() async throws {
    try await withNode(store: nil, { $0.queueJobs = 2 }) { node in
      let running = try await node.start("long", epochs: 500)
      while try await node.job(running.id).state == .queued { try await Task.sleep(for: .milliseconds(1)) }
      typealias Outcome = Result<JobSummary, any Error>
      let outcomes = await withTaskGroup(of: Outcome.self, returning: [Outcome].self) { group in
        for index in 0..<8 {
          group.addTask {
            do { return .success(try await node.start("task\(index)")) } catch { return .failure(error) }
          }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      var accepted: [String] = []
      for outcome in outcomes {
        switch outcome {
        case .success(let job): accepted.append(job.id)
        case .failure(ServingError.overloaded(2, limit: 2, let seconds)): #expect(seconds >= 1)
        case .failure(let error): Issue.record(error)
        }
      }
      #expect(accepted.count == 2)
      let state = try await node.job(running.id).state
      #expect(state == .running)
      for job in accepted + [running.id] { _ = try await node.cancel(job: job) }
    }
  }

  @Test func anOldPauseDoesNotStopAResumedJob() async throws {
    try await withNode { node in
      let job = try await node.start("topics", epochs: 40)
      while try await node.job(job.id).state == .queued { try await Task.sleep(for: .milliseconds(1)) }
      let found2 = try await node.pause(job: job.id).state
      #expect(found2 == .paused)
      // A second caller who saw the job run, and asked when it had stopped already.
      node.runner.ask(job.id, .pause)
      _ = try await node.resume(job: job.id)
      var state = JobState.queued
      while state == .queued || state == .running {
        try await Task.sleep(for: .milliseconds(2))
        state = try await node.job(job.id).state
      }
      #expect(state == .succeeded)
    }
  }

  @Test func aJobThatHasEndedIsNotCancelled() async throws {
    try await withNode { node in
      let job = try await node.learn("topics", epochs: 1)
      await #expect {
        _ = try await node.cancel(job: job.id)
      } throws: { error in
        guard case .jobState("succeeded") = error as? ServingError else { return false }
        return true
      }
    }
  }

  @Test func pausingAndCancellingAtOnceEndsCancelled() async throws {
    try await withNode { node in
      let job = try await node.start("topics", epochs: 200)
      while try await node.job(job.id).state == .queued { try await Task.sleep(for: .milliseconds(1)) }
      async let paused = try? node.pause(job: job.id)
      async let cancelled = node.cancel(job: job.id)
      let found3 = try await cancelled.state
      #expect(found3 == .cancelled)
      _ = await paused
      let found4 = try await node.job(job.id).state
      #expect(found4 == .cancelled)
    }
  }

  @Test func onlyABetterVersionTakesThePlaceOfTheActiveOne() async throws {
    try await withNode { node in
      func learn(_ rate: Float) async throws -> Int? {
        var settings = TrainingSettings.defaults(kind: .classification, method: "cora", on: .encoder)
        settings.epochs = 6
        settings.batchSize = 8
        settings.rank = 4
        settings.validation = 0.2
        settings.learningRate = rate
        settings.headLearningRate = rate
        let job = try await node.train(
          TrainingRequest(
            task: "topics", data: .examples(Rows.colours), settings: settings, subspace: nil,
            activate: .ifBetter, from: nil, idempotencyKey: nil, requestDigest: ""), principal: .anonymous)
        _ = try await node.finished(job.id)
        return try await node.task("topics").activeVersion
      }
      // The first has nothing to beat; one that learnt nothing does not beat one that did.
      let first = try await learn(1e-9)
      #expect(first == 1)
      let better = try await learn(5e-3)
      #expect(better == 2)
      let worse = try await learn(1e-9)
      #expect(worse == 2)
      let count = try await node.task("topics").versionCount
      #expect(count == 3)
    }
  }

  @Test func aTaskInTrainingIsNotDeleted() async throws {
    try await withNode { node in
      _ = try await node.learn("topics", epochs: 1)
      let job = try await node.start("topics", epochs: 200)
      await #expect {
        try await node.delete(task: "topics")
      } throws: { error in
        guard case .inUse("job \(job.id)") = error as? ServingError else { return false }
        return true
      }
      _ = try await node.cancel(job: job.id)
      try await node.delete(task: "topics")
    }
  }

  /// A task that is cancelled does not wait; told that nothing came, it would ask again without end.
  @Test func aCancelledWaitForEventsEndsAsCancelled() async throws {
    try await withNode { node in
      let job = try await node.start("topics", epochs: 200)
      _ = try await node.pause(job: job.id)
      let (events, isFinal) = try await node.events(of: job.id, after: 0, waitMilliseconds: 0)
      let last = try #require(events.last).id
      #expect(!isFinal)
      let waiting = Task {
        try await node.events(of: job.id, after: last, waitMilliseconds: 10_000)
      }
      waiting.cancel()
      await #expect {
        _ = try await waiting.value
      } throws: { error in
        guard case .cancelled = error as? ServingError else { return false }
        return true
      }
      _ = try await node.cancel(job: job.id)
    }
  }

  @Test func aRepeatedRequestLeavesNoRowsBehind() async throws {
    try await withNode { node in
      let job = try await node.start("topics", idempotencyKey: "k", epochs: 1)
      for _ in 0..<3 {
        let found5 = try await node.start("topics", idempotencyKey: "k", epochs: 1).id
        #expect(found5 == job.id)
      }
      _ = try await node.finished(job.id)
      // What the job needed has gone with its end, what the repeats brought was never kept.
      let kept = try await node.store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM datasets") }
      #expect(kept == 0)
    }
  }
}

extension InferencePart {
  /// Rows of two tokens for the bare base.
  fileprivate static func of(_ task: String, _ rows: Int) -> InferencePart {
    let encoding = Encoding(ids: [101, 102], typeIDs: [0, 0], offsets: [], untruncatedCount: 2)
    return InferencePart(
      task: task, adapter: nil, subspace: nil, subspaceDigest: "", normalize: true,
      encodings: Array(repeating: encoding, count: rows), range: 0..<rows)
  }
}
