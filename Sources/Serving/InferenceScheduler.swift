internal import Adapters
internal import Engine
internal import Scheduling
internal import Synchronization

/// Rows from requests to batches and back. One batch runs at a time; what arrives meanwhile forms the next one.
///
/// It has no thread: who submits starts a batch where none runs, and the lane that ends one starts the next, so that an
/// answer takes two hops between threads, to a lane and back.
final class InferenceScheduler: Sendable {
  /// The answers to a request's rows in order, and the longest times of any.
  struct Outcome: Sendable {
    var predictions: [Prediction]
    var queueNanoseconds: Int64 = 0
    var computeNanoseconds: Int64 = 0
  }

  private typealias Waiter = CheckedContinuation<Result<Outcome, ServingError>, Never>

  /// Rows of one request that share a task and a subspace: places into its rows.
  struct Part: Sendable {
    let task: String
    let subspace: String
    var places: [Int] = []
  }

  private struct Request {
    let rows: [BatchRow]
    let arrived: Int64
    let continuation: Waiter
    var outcome: Outcome
    var missing: Int

    mutating func fill(
      _ part: QueuedRows, _ predictions: ArraySlice<Prediction>, queue: Int64, compute: Int64
    ) {
      for (row, prediction) in zip(part.rows, predictions) { outcome.predictions[row.place] = prediction }
      missing -= part.rows.count
      outcome.queueNanoseconds = max(outcome.queueNanoseconds, queue)
      outcome.computeNanoseconds = max(outcome.computeNanoseconds, compute)
    }
  }

  /// Rows on their way through a lane, and where their answers go.
  private struct Batch: Sendable {
    let plan: BatchPlan
    var rows: [BatchRow] = []
  }

  struct Figures: Sendable {
    var rowsAnswered = 0
    var tokensComputed = 0
    var batches = 0
    var rowsRefused = 0
    var rowsExpired = 0
    var running = 0
  }

  /// Who is served and who waits, now.
  struct Load: Sendable {
    /// Requests with a row in a batch.
    var requestsRunning = 0
    /// The others that have no answer yet.
    var requestsWaiting = 0
    var tasksRunning: Set<String> = []
    /// Tasks with rows that wait.
    var tasksWaiting: Set<String> = []
  }

  private struct State {
    var queue: RequestQueue
    /// Numbers whose rows are not queued yet, and whether they were cancelled meanwhile.
    var announced: [UInt64: Bool] = [:]
    /// Each until its continuation is resumed.
    var requests: [UInt64: Request] = [:]
    var nextRequest: UInt64 = 1
    var rate = DrainRate()
    var figures = Figures()
    var isRunning = false
    /// The rows that run.
    var running: [QueuedRows] = []
    var isDraining = false
    var drained: CheckedContinuation<Void, Never>?

    /// Who waits for the end, once it is there.
    mutating func takeDrained() -> CheckedContinuation<Void, Never>? {
      guard isDraining, !isRunning, queue.isEmpty else { return nil }
      defer { drained = nil }
      return drained
    }
  }

  private let state: Mutex<State>
  private let compute: InferenceStages.Compute
  private let batchTokens: Int

  init(compute: @escaping InferenceStages.Compute, queueRows: Int, batchTokens: Int) {
    self.compute = compute
    self.batchTokens = batchTokens
    state = Mutex(State(queue: RequestQueue(limitRows: queueRows)))
  }

  var figures: Figures { state.withLock { $0.figures } }
  var load: Load {
    state.withLock { state in
      let running = Set(state.running.lazy.map(\.request)).filter { state.requests[$0] != nil }.count
      return Load(
        requestsRunning: running, requestsWaiting: state.requests.count - running,
        tasksRunning: Set(state.running.lazy.map(\.task)), tasksWaiting: state.queue.tasks)
    }
  }
  var depth: Int { state.withLock { $0.queue.count } }
  /// Requests that have no answer yet.
  var open: Int { state.withLock { $0.requests.count + $0.announced.count } }

  /// Whether `rows` more would be admitted now: asked before anything is tokenised.
  func admit(rows: Int) throws(ServingError) {
    try state.withLock { (state) throws(ServingError) in
      if state.isDraining { throw .draining }
      try Self.check(&state, rows)
    }
  }

  /// Queues the rows of one request and waits for all answers, in order. Cancelling the task takes its rows out.
  ///
  /// The deadline is looked at between batches: a request that passes it while one runs is refused when that one ends.
  ///
  /// - Parameter parts: every row's place stands in one of them.
  func run(
    _ rows: [BatchRow], parts: [Part], principal: String, deadline: Int64, limitMilliseconds: Int
  ) async throws(ServingError) -> Outcome {
    if rows.isEmpty { return Outcome(predictions: []) }
    let request = state.withLock { state in
      defer { state.nextRequest += 1 }
      state.announced[state.nextRequest] = false
      return state.nextRequest
    }
    let queued = parts.map { part in
      QueuedRows(
        request: request, subspace: part.subspace, task: part.task, principal: principal, deadline: deadline,
        rows: part.places.map { .init(place: $0, tokens: rows[$0].ids.count) })
    }
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { submit(rows, queued, request: request, $0) }
    } onCancel: {
      cancel(request)
    }
    switch result {
    case .success(let outcome):
      guard Clock.nanoseconds() < deadline else { throw .deadlineExceeded(milliseconds: limitMilliseconds) }
      return outcome
    case .failure(.deadlineExceeded): throw .deadlineExceeded(milliseconds: limitMilliseconds)
    case .failure(let error): throw error
    }
  }

  /// Returns when it was drained and the last answer is out. Cancelling drains.
  func serve() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let waiting = state.withLock { state in
          state.drained = continuation
          return state.takeDrained()
        }
        waiting?.resume()
      }
    } onCancel: {
      drain()
    }
  }

  /// Refuses new rows; `serve` returns when the queue is empty.
  func drain() {
    let waiting = state.withLock { state in
      state.isDraining = true
      return state.takeDrained()
    }
    waiting?.resume()
  }

  private static func check(_ state: inout State, _ rows: Int) throws(ServingError) {
    do throws(RequestQueue.Full) {
      try state.queue.check(rows: rows)
    } catch {
      state.figures.rowsRefused += rows
      throw .overloaded(
        depth: error.depth, limit: error.limit,
        retryAfterSeconds: state.rate.secondsUntilDrained(rows: error.depth + rows - error.limit))
    }
  }

  private func submit(
    _ rows: [BatchRow], _ queued: [QueuedRows], request: UInt64,
    _ continuation: Waiter
  ) {
    let now = Clock.nanoseconds()
    let failure: ServingError? = state.withLock { state in
      if state.announced.removeValue(forKey: request) == true { return .cancelled }
      if state.isDraining { return .draining }
      do throws(ServingError) {
        try Self.check(&state, rows.count)
      } catch {
        return error
      }
      do throws(RequestQueue.Full) {
        try state.queue.append(queued)
      } catch {
        return .overloaded(depth: error.depth, limit: error.limit, retryAfterSeconds: 1)
      }
      state.requests[request] = Request(
        rows: rows, arrived: now, continuation: continuation,
        outcome: Outcome(predictions: Array(repeating: .embedding([]), count: rows.count)),
        missing: rows.count)
      return nil
    }
    if let failure { continuation.resume(returning: .failure(failure)) } else { startBatch() }
  }

  private func cancel(_ request: UInt64) {
    let continuation = state.withLock { state in
      guard let entry = state.requests.removeValue(forKey: request) else {
        // Not queued yet, or answered already.
        if state.announced[request] != nil { state.announced[request] = true }
        return nil as Waiter?
      }
      _ = state.queue.cancel(request: request)
      return entry.continuation
    }
    continuation?.resume(returning: .failure(.cancelled))
  }

  /// Starts the next batch, unless one runs or nothing waits.
  private func startBatch() {
    guard let batch = nextBatch() else { return }
    let started = Clock.nanoseconds()
    compute(batch.rows) { self.finish(batch.plan, $0, started: started) }
  }

  private func nextBatch() -> Batch? {
    let now = Clock.nanoseconds()
    let (batch, late) = state.withLock { state in
      if state.isRunning { return (nil as Batch?, [Waiter]()) }
      let late = Self.expire(&state, now)
      let plan = state.queue.plan(budgetTokens: batchTokens)
      state.queue.commit(plan)
      var rows: [BatchRow] = []
      for part in plan.parts {
        guard let all = state.requests[part.request]?.rows else { continue }
        if part.rows.count == all.count, plan.parts.count == 1 {
          rows = all
        } else {
          for row in part.rows { rows.append(all[row.place]) }
        }
      }
      state.isRunning = !rows.isEmpty
      if state.isRunning { state.running = plan.parts }
      state.figures.running = rows.count
      return (rows.isEmpty ? nil : Batch(plan: plan, rows: rows), late)
    }
    for continuation in late { continuation.resume(returning: .failure(.deadlineExceeded(milliseconds: 0))) }
    return batch
  }

  /// Takes requests out whose deadline has passed.
  private static func expire(
    _ state: inout State, _ now: Int64
  ) -> [Waiter] {
    let expired = state.queue.expire(now: now)
    if expired.isEmpty { return [] }
    state.figures.rowsExpired += expired.reduce(0) { $0 + $1.rows.count }
    return Set(expired.map(\.request)).compactMap { request in
      _ = state.queue.cancel(request: request)
      return state.requests.removeValue(forKey: request)?.continuation
    }
  }

  private func finish(_ plan: BatchPlan, _ predictions: [Prediction], started: Int64) {
    let elapsed = Clock.nanoseconds() - started
    let done = state.withLock { state in
      state.rate.record(rows: predictions.count, seconds: Double(elapsed) / 1e9)
      state.isRunning = false
      state.running = []
      state.figures.batches += 1
      state.figures.running = 0
      state.figures.tokensComputed += plan.tokens
      var done: [Request] = []
      var first = 0
      for part in plan.parts {
        let range = first..<first + part.rows.count
        first = range.upperBound
        guard let arrived = state.requests[part.request]?.arrived else { continue }
        state.figures.rowsAnswered += range.count
        state.requests[part.request]?.fill(
          part, predictions[range], queue: started - arrived, compute: elapsed)
        if state.requests[part.request]?.missing == 0,
          let request = state.requests.removeValue(forKey: part.request)
        {
          done.append(request)
        }
      }
      return done
    }
    // The lanes first: the next batch computes while these answers are written.
    startBatch()
    for request in done { request.continuation.resume(returning: .success(request.outcome)) }
    state.withLock { $0.takeDrained() }?.resume()
  }
}
