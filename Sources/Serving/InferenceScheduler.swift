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

  typealias Waiter = UnsafeContinuation<Result<Outcome, ServingError>, Never>

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
    /// Each until its continuation is resumed.
    var requests: [UInt64: Request] = [:]
    var rate = DrainRate()
    var figures = Figures()
    var running: Batch?
    var isDraining = false
    var drained: CheckedContinuation<Void, Never>?

    /// Who waits for the end, once it is there.
    mutating func takeDrained() -> CheckedContinuation<Void, Never>? {
      guard isDraining, running == nil, queue.isEmpty else { return nil }
      defer { drained = nil }
      return drained
    }
  }

  private let state: Mutex<State>
  private let lastRequest = Atomic<UInt64>(0)
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
      let running = Set(state.running?.requests ?? []).filter { state.requests[$0] != nil }.count
      return Load(
        requestsRunning: running, requestsWaiting: state.requests.count - running,
        tasksRunning: Set(state.running?.parts.map(\.task) ?? []), tasksWaiting: state.queue.tasks)
    }
  }
  var depth: Int { state.withLock { $0.queue.count } }
  /// Requests that have no answer yet.
  var open: Int { state.withLock { $0.requests.count } }

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
  /// - Parameter parts: the ranges follow each other, through all rows.
  func run(
    _ parts: [InferencePart], principal: String, deadline: Int64, limitMilliseconds: Int,
    isolation: isolated (any Actor)? = #isolation
  ) async throws(ServingError) -> Outcome {
    guard let count = parts.last?.range.upperBound, count > 0 else { return Outcome(predictions: []) }
    let request = lastRequest.wrappingAdd(1, ordering: .relaxed).newValue
    let result = await withTaskCancellationHandler {
      // The caller's actor runs this too: else it would be left and entered again, which queues a job.
      _ = isolation
      return await withUnsafeContinuation { submit(parts, count, request, principal, deadline, $0) }
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
    _ parts: [InferencePart], _ count: Int, _ request: UInt64, _ principal: String, _ deadline: Int64,
    _ continuation: Waiter
  ) {
    let now = Clock.nanoseconds()
    let tokens = parts.reduce(0) { $0 + $1.tokens }
    let admitted = state.withLock { state -> Result<Batch?, ServingError> in
      do throws(ServingError) {
        // Cancelled before anything of it was here for `cancel`.
        if Task.isCancelled { throw .cancelled }
        if state.isDraining { throw .draining }
        try Self.check(&state, count)
        if state.running == nil, state.queue.isEmpty, tokens <= batchTokens {
          // Nobody to be fair to: the request is the batch.
          let batch = Batch(parts, tokens: tokens, of: request)
          Self.start(batch, &state)
          state.requests[request] = Request(parts, count: count, continuation, arrived: now)
          return .success(batch)
        }
        try Self.append(parts, request, principal, deadline, &state)
        state.requests[request] = Request(parts, count: count, continuation, arrived: now)
        return .success(nil)
      } catch {
        return .failure(error)
      }
    }
    switch admitted {
    case .success(let batch?): run(batch, at: now)
    case .success(nil): startBatch()
    case .failure(let error): continuation.resume(returning: .failure(error))
    }
  }

  private static func append(
    _ parts: [InferencePart], _ request: UInt64, _ principal: String, _ deadline: Int64, _ state: inout State
  ) throws(ServingError) {
    let queued = parts.map { part in
      QueuedRows(
        request: request, subspace: part.subspaceDigest, task: part.task, principal: principal,
        deadline: deadline,
        rows: part.range.map { .init(place: $0, tokens: part.tokens($0)) })
    }
    do throws(RequestQueue.Full) {
      try state.queue.append(queued)
    } catch {
      throw .overloaded(depth: error.depth, limit: error.limit, retryAfterSeconds: 1)
    }
  }

  private func cancel(_ request: UInt64) {
    let continuation = state.withLock { state -> Waiter? in
      // Not queued yet, or answered already.
      guard let cancelled = state.requests.removeValue(forKey: request) else { return nil }
      _ = state.queue.cancel(request: request)
      return cancelled.continuation
    }
    continuation?.resume(returning: .failure(.cancelled))
  }

  /// Starts the next batch, unless one runs or nothing waits.
  private func startBatch() {
    let now = Clock.nanoseconds()
    if let batch = nextBatch(now) { run(batch, at: now) }
  }

  private func run(_ batch: Batch, at started: Int64) {
    compute(batch.parts) { self.finish(batch, $0, started: started) }
  }

  private func nextBatch(_ now: Int64) -> Batch? {
    let (batch, late) = state.withLock { state in
      if state.running != nil { return (nil as Batch?, [Waiter]()) }
      if state.queue.isEmpty { return (nil, []) }
      let late = Self.expire(&state, now)
      let plan = state.queue.plan(budgetTokens: batchTokens)
      state.queue.commit(plan)
      let requests = state.requests
      let batch = Batch(plan) { requests[$0]?.parts }
      if batch.parts.isEmpty { return (nil, late) }
      Self.start(batch, &state)
      return (batch, late)
    }
    for continuation in late { continuation.resume(returning: .failure(.deadlineExceeded(milliseconds: 0))) }
    return batch
  }

  private static func start(_ batch: Batch, _ state: inout State) {
    state.running = batch
    state.figures.running = batch.count
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

  private func finish(_ batch: Batch, _ predictions: [Prediction], started: Int64) {
    let elapsed = Clock.nanoseconds() - started
    let (done, mustStart, drained) = state.withLock { state in
      state.rate.record(rows: predictions.count, seconds: Double(elapsed) / 1e9)
      state.running = nil
      state.figures.batches += 1
      state.figures.running = 0
      state.figures.tokensComputed += batch.tokens
      var done: [Request] = []
      var first = 0
      for (part, number) in zip(batch.parts, batch.requests) {
        let start = first
        first += part.count
        guard let index = state.requests.index(forKey: number) else { continue }
        state.figures.rowsAnswered += part.count
        state.requests.values[index].fill(
          part.range, predictions, from: start, started: started, elapsed: elapsed)
        if state.requests.values[index].missing == 0 { done.append(state.requests.remove(at: index).value) }
      }
      return (done, !state.queue.isEmpty, state.takeDrained())
    }
    // The lanes first: the next batch computes while these answers are written.
    if mustStart { startBatch() }
    for request in done { request.continuation.resume(returning: .success(request.outcome)) }
    drained?.resume()
    // What waited may all have been too late.
    if mustStart { state.withLock { $0.takeDrained() }?.resume() }
  }
}
