internal import Adapters
internal import Engine
internal import Scheduling
internal import Synchronization

/// Rows from requests to batches and back. One batch runs at a time; what arrives meanwhile forms the next one.
final class InferenceScheduler: Sendable {
  /// The answer to a row, with its own times.
  struct Outcome: Sendable {
    let prediction: Prediction
    let queueNanoseconds: Int64
    let computeNanoseconds: Int64
  }

  /// A row to answer, in its place of a request.
  struct Row: Sendable {
    let batchRow: BatchRow
    let task: String
    let subspace: String
    let principal: String
  }

  private struct Place: Sendable {
    let index: Int
    let row: BatchRow
  }

  private struct Request {
    var outcomes: [Outcome?]
    var missing: Int
    let continuation: CheckedContinuation<Result<[Outcome], ServingError>, Never>
  }

  /// From a request's number to its answer; cancelling may come at any of them.
  private enum Stage {
    /// Not queued yet.
    case announced
    /// Cancelled before it was queued.
    case cancelled
    case waiting(Request)
  }

  struct Figures: Sendable {
    var rowsAnswered = 0
    var tokensComputed = 0
    var batches = 0
    var rowsRefused = 0
    var rowsExpired = 0
    var running = 0
  }

  private struct State {
    var queue: RequestQueue<Place>
    /// Each until its continuation is resumed.
    var requests: [UInt64: Stage] = [:]
    var nextRequest: UInt64 = 1
    var rate = DrainRate()
    var figures = Figures()
    var isDraining = false
  }

  private let state: Mutex<State>
  private let executor: BatchExecutor
  private let batchTokens: Int
  private let wake: AsyncStream<Void>
  private let waker: AsyncStream<Void>.Continuation
  private let primary: @Sendable () -> ResidentSubspace?

  init(
    executor: BatchExecutor, queueRows: Int, batchTokens: Int,
    primary: @escaping @Sendable () -> ResidentSubspace?
  ) {
    self.executor = executor
    self.batchTokens = batchTokens
    self.primary = primary
    state = Mutex(State(queue: RequestQueue(limitRows: queueRows)))
    (wake, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  var figures: Figures { state.withLock { $0.figures } }
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
  func run(_ rows: [Row], deadline: Int64, limitMilliseconds: Int) async throws(ServingError) -> [Outcome] {
    guard !rows.isEmpty else { return [] }
    let request = state.withLock { state in
      defer { state.nextRequest += 1 }
      state.requests[state.nextRequest] = .announced
      return state.nextRequest
    }
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        submit(rows, request: request, deadline: deadline, continuation)
      }
    } onCancel: {
      cancel(request)
    }
    switch result {
    case .success(let outcomes):
      guard Clock.nanoseconds() < deadline else { throw .deadlineExceeded(milliseconds: limitMilliseconds) }
      return outcomes
    case .failure(.deadlineExceeded): throw .deadlineExceeded(milliseconds: limitMilliseconds)
    case .failure(let error): throw error
    }
  }

  /// Forms and runs batches until `drain` has let the queue run empty, or its task is cancelled: then what waits is
  /// refused.
  func serve() async {
    defer { refuseAll() }
    for await _ in wake {
      while let rows = nextBatch() {
        let started = Clock.nanoseconds()
        let predictions = await executor.run(rows.map(\.item.row), primary: primary())
        finish(rows, predictions, started: started)
      }
      if state.withLock({ $0.isDraining && $0.queue.isEmpty }) { return }
    }
  }

  /// Refuses new rows; `serve` returns when the queue is empty.
  func drain() {
    state.withLock { $0.isDraining = true }
    waker.yield()
  }

  private static func check(_ state: inout State, _ rows: Int) throws(ServingError) {
    do throws(RequestQueue<Place>.Full) {
      try state.queue.check(rows: rows)
    } catch {
      state.figures.rowsRefused += rows
      throw .overloaded(
        depth: error.depth, limit: error.limit,
        retryAfterSeconds: state.rate.secondsUntilDrained(rows: error.depth + rows - error.limit))
    }
  }

  private func submit(
    _ rows: [Row], request: UInt64, deadline: Int64,
    _ continuation: CheckedContinuation<Result<[Outcome], ServingError>, Never>
  ) {
    let now = Clock.nanoseconds()
    let failure: ServingError? = state.withLock { state in
      // Gone from here unless it is queued below.
      if case .cancelled = state.requests.removeValue(forKey: request) { return .cancelled }
      if state.isDraining { return .draining }
      do throws(ServingError) {
        try Self.check(&state, rows.count)
        let queued = rows.enumerated().map { index, row in
          QueuedRow(
            request: request, subspace: row.subspace, task: row.task,
            principal: row.principal, tokens: row.batchRow.ids.count,
            arrived: now,
            deadline: deadline, item: Place(index: index, row: row.batchRow))
        }
        do throws(RequestQueue<Place>.Full) {
          try state.queue.append(queued)
        } catch {
          throw .overloaded(depth: error.depth, limit: error.limit, retryAfterSeconds: 1)
        }
      } catch {
        return error
      }
      state.requests[request] = .waiting(
        Request(
          outcomes: Array(repeating: nil, count: rows.count), missing: rows.count, continuation: continuation)
      )
      return nil
    }
    if let failure { continuation.resume(returning: .failure(failure)) } else { waker.yield() }
  }

  private func cancel(_ request: UInt64) {
    let continuation = state.withLock {
      state -> CheckedContinuation<Result<[Outcome], ServingError>, Never>? in
      switch state.requests[request] {
      case .waiting(let entry):
        state.requests[request] = nil
        _ = state.queue.cancel(request: request)
        return entry.continuation
      case .announced: state.requests[request] = .cancelled
      // Answered already, or cancelled twice.
      case .cancelled, nil: break
      }
      return nil
    }
    continuation?.resume(returning: .failure(.cancelled))
  }

  /// Takes a queued request out of the books.
  private static func take(_ state: inout State, _ request: UInt64) -> Request? {
    guard case .waiting(let entry) = state.requests[request] else { return nil }
    state.requests[request] = nil
    return entry
  }

  private func refuseAll() {
    let left = state.withLock { state in
      state.isDraining = true
      return state.requests.keys.compactMap { request in
        _ = state.queue.cancel(request: request)
        return Self.take(&state, request)
      }
    }
    for request in left { request.continuation.resume(returning: .failure(.draining)) }
  }

  private func nextBatch() -> [QueuedRow<Place>]? {
    let now = Clock.nanoseconds()
    let (rows, late) = state.withLock { state in
      let expired = state.queue.expire(now: now)
      state.figures.rowsExpired += expired.count
      let late = Set(expired.map(\.request)).compactMap { Self.take(&state, $0)?.continuation }
      for request in Set(expired.map(\.request)) { _ = state.queue.cancel(request: request) }
      let plan = state.queue.plan(budgetTokens: batchTokens)
      state.queue.commit(plan)
      state.figures.running = plan.rows.count
      return (plan.rows, late)
    }
    for continuation in late { continuation.resume(returning: .failure(.deadlineExceeded(milliseconds: 0))) }
    return rows.isEmpty ? nil : rows
  }

  private func finish(_ rows: [QueuedRow<Place>], _ predictions: [Prediction], started: Int64) {
    let elapsed = Clock.nanoseconds() - started
    let done = state.withLock { state in
      state.rate.record(rows: rows.count, seconds: Double(elapsed) / 1e9)
      state.figures.batches += 1
      state.figures.running = 0
      var done: [Request] = []
      for (row, prediction) in zip(rows, predictions) {
        state.figures.tokensComputed += row.tokens
        guard case .waiting(var request) = state.requests[row.request] else { continue }
        state.figures.rowsAnswered += 1
        request.outcomes[row.item.index] = Outcome(
          prediction: prediction, queueNanoseconds: started - row.arrived, computeNanoseconds: elapsed)
        request.missing -= 1
        state.requests[row.request] = request.missing == 0 ? nil : .waiting(request)
        if request.missing == 0 { done.append(request) }
      }
      return done
    }
    for request in done {
      request.continuation.resume(returning: .success(request.outcomes.compactMap(\.self)))
    }
  }
}

/// Seconds between its laps, for the log.
struct Stopwatch {
  private var last = Clock.nanoseconds()

  /// Seconds since the lap before, to the millisecond.
  mutating func lap() -> Double {
    let now = Clock.nanoseconds()
    defer { last = now }
    return Double((now - last) / 1_000_000) / 1e3
  }
}

/// The monotonic clock of queues and deadlines.
enum Clock {
  private static let origin = ContinuousClock.now

  static func nanoseconds() -> Int64 {
    let parts = (ContinuousClock.now - origin).components
    return parts.seconds * 1_000_000_000 + parts.attoseconds / 1_000_000_000
  }
}
