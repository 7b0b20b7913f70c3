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
    var requests: [UInt64: Request] = [:]
    var cancelled: Set<UInt64> = []
    var nextRequest: UInt64 = 1
    var rate = DrainRate()
    var figures = Figures()
    var isDraining = false
  }

  private let state: Mutex<State>
  private let compute: InferenceStages.Compute
  private let batchTokens: Int
  private let wake: AsyncStream<Void>
  private let waker: AsyncStream<Void>.Continuation

  init(compute: @escaping InferenceStages.Compute, queueRows: Int, batchTokens: Int) {
    self.compute = compute
    self.batchTokens = batchTokens
    state = Mutex(State(queue: RequestQueue(limitRows: queueRows)))
    (wake, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  var figures: Figures { state.withLock { $0.figures } }
  var depth: Int { state.withLock { $0.queue.count } }

  /// Whether `rows` more would be admitted now: asked before anything is tokenised.
  func admit(rows: Int) throws(ServingError) {
    try state.withLock { (state) throws(ServingError) in
      if state.isDraining { throw .draining }
      try Self.check(&state, rows)
    }
  }

  /// Queues the rows of one request and waits for all answers, in order. Cancelling the task takes its rows out.
  func run(_ rows: [Row], deadline: Int64, limitMilliseconds: Int) async throws(ServingError) -> [Outcome] {
    let request = state.withLock { state in
      defer { state.nextRequest += 1 }
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

  /// Forms and runs batches until `stop`.
  func serve() async {
    for await _ in wake {
      while let rows = nextBatch() {
        let started = Clock.nanoseconds()
        let predictions = await compute(rows.map(\.item.row))
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
      if state.cancelled.remove(request) != nil { return .cancelled }
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
      state.requests[request] = Request(
        outcomes: Array(repeating: nil, count: rows.count), missing: rows.count, continuation: continuation)
      return nil
    }
    if let failure { continuation.resume(returning: .failure(failure)) } else { waker.yield() }
  }

  private func cancel(_ request: UInt64) {
    let continuation = state.withLock { state in
      guard let entry = state.requests.removeValue(forKey: request) else {
        // Either not queued yet, or already answered: only the first is remembered.
        if request >= state.nextRequest - 1 || state.cancelled.count < 1_024 {
          state.cancelled.insert(request)
        }
        return nil as CheckedContinuation<Result<[Outcome], ServingError>, Never>?
      }
      _ = state.queue.cancel(request: request)
      return entry.continuation
    }
    continuation?.resume(returning: .failure(.cancelled))
  }

  private func nextBatch() -> [QueuedRow<Place>]? {
    let now = Clock.nanoseconds()
    let (rows, late) = state.withLock { state in
      let expired = state.queue.expire(now: now)
      state.figures.rowsExpired += expired.count
      let late = Set(expired.map(\.request)).compactMap {
        state.requests.removeValue(forKey: $0)?.continuation
      }
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
        guard var request = state.requests[row.request] else { continue }
        state.figures.rowsAnswered += 1
        request.outcomes[row.item.index] = Outcome(
          prediction: prediction, queueNanoseconds: started - row.arrived, computeNanoseconds: elapsed)
        request.missing -= 1
        state.requests[row.request] = request.missing == 0 ? nil : request
        if request.missing == 0 { done.append(request) }
      }
      return done
    }
    for request in done {
      request.continuation.resume(returning: .success(request.outcomes.compactMap(\.self)))
    }
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
