internal import Engine
internal import Logging
internal import Store
internal import Synchronization

/// Runs jobs one after the other, on a thread of its own: data preparation and optimiser steps are long, and only shards
/// go to the lanes.
actor JobRunner {
  /// What a running job was asked to do at its next step.
  enum Intent: Sendable {
    case pause, cancel
  }

  private struct Control {
    var intents: [String: Intent] = [:]
    var isStopping = false
    var steps = 0
  }

  /// Between two tries at a store that does not take a write.
  private static let patience = Duration.seconds(1)

  private let executor = ThreadExecutor(name: "jobs")
  private let control = Mutex(Control())
  private let stream: AsyncStream<Void>
  private let waker: AsyncStream<Void>.Continuation

  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  init() { (stream, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1)) }

  /// Optimiser steps since the start.
  nonisolated var steps: Int { control.withLock { $0.steps } }

  nonisolated func wake() { waker.yield() }

  nonisolated func ask(_ job: String, _ intent: Intent) { control.withLock { $0.intents[job] = intent } }

  /// Lets the running job checkpoint and queue again; `run` returns then.
  nonisolated func stop() {
    control.withLock { $0.isStopping = true }
    waker.yield()
  }

  nonisolated func countStep() { control.withLock { $0.steps += 1 } }

  nonisolated var isStopping: Bool { control.withLock { $0.isStopping } }

  nonisolated func intent(for job: String) -> Intent? { control.withLock { $0.intents[job] } }

  /// Takes queued jobs until `stop`.
  func run(on node: Node) async {
    waker.yield()
    for await _ in stream {
      while !isStopping, let job = await next(node) {
        await run(job, on: node)
        control.withLock { $0.intents[job.id] = nil }
        node.signals.moved(job.id)
      }
      if isStopping { return }
    }
  }

  private func next(_ node: Node) async -> JobRecord? {
    do throws(StoreError) {
      guard let job = try await node.store.nextQueuedJob(base: node.base.digest) else { return nil }
      // What was asked of an earlier run of it came too late for that run, and must not stop this one.
      control.withLock { $0.intents[job.id] = nil }
      let running = try await node.store.transition(
        job.id, from: ["queued"], to: "running", event: #"{"state":"running"}"#)
      node.signals.moved(job.id)
      return running
    } catch {
      if case .jobState = error { return await next(node) }
      node.log.error("jobs: the next job cannot be taken: \(error)")
      try? await Task.sleep(for: Self.patience)
      wake()
      return nil
    }
  }

  private func run(_ job: JobRecord, on node: Node) async {
    do throws(JobStop) {
      switch JobType(rawValue: job.type) {
      case .train: try await train(job, on: node)
      case .subspace: try await makeSubspace(job, on: node)
      case nil: throw .failed(code: "internal", detail: "The job's type is not known.")
      }
    } catch {
      await end(job, error, on: node)
    }
  }

  private func end(_ job: JobRecord, _ stop: JobStop, on node: Node) async {
    let (state, code, detail): (String, String?, String?) =
      switch stop {
      case .paused: ("paused", nil, nil)
      case .stopping: ("queued", nil, nil)
      case .cancelled: ("cancelled", nil, nil)
      case .failed(let code, let detail): ("failed", code, Self.shown(code, detail, of: job, node.log))
      }
    if let code { node.log.warning("job \(job.id) failed: \(code): \(detail ?? "")") }
    while true {
      do throws(StoreError) {
        _ = try await node.store.transition(
          job.id, from: ["running"], to: state, event: #"{"state":"\#(state)"}"#, errorCode: code,
          errorDetail: detail)
        return
      } catch {
        node.log.error("job \(job.id) cannot be moved to \(state): \(error)")
        // A full disk, most likely: nothing else could run either. A daemon that stops leaves the job to its next start.
        if case .jobState = error { return }
        if isStopping { return }
        try? await Task.sleep(for: Self.patience)
      }
    }
  }
}

extension JobRunner {
  /// A fault of ours goes to the log alone.
  private static func shown(_ code: String, _ detail: String, of job: JobRecord, _ log: Logger) -> String {
    guard code == "internal" else { return detail }
    log.error("job \(job.id) met a fault: \(detail)")
    return "Something went wrong here; the log of the daemon says what."
  }
}

/// Why a job ends before it succeeds.
enum JobStop: Error {
  case paused
  /// The daemon stops; the job is queued again.
  case stopping
  case cancelled
  case failed(code: String, detail: String)

  init(_ error: ServingError) {
    switch error {
    case .cancelled: self = .cancelled
    case .validation(let fields):
      self = .failed(
        code: "validation-failed",
        detail: fields.map { "\($0.pointer) \($0.detail)" }.joined(separator: "; "))
    case .notFound(let resource, let id):
      self = .failed(
        code: "\(resource.rawValue)-not-found", detail: "There is no \(resource.rawValue) \(id).")
    case .subspaceNotGrown:
      self = .failed(
        code: "subspace-not-grown", detail: "The versions use a shared B: nothing can grow out of them.")
    case .baseMismatch(let expected, let actual):
      self = .failed(code: "base-mismatch", detail: "The base is \(expected), not \(actual).")
    case .subspaceMismatch(let expected, let actual):
      self = .failed(code: "subspace-mismatch", detail: "The subspace is \(actual), not \(expected).")
    case .invalidAdapter(let tensor, let reason):
      self = .failed(code: "invalid-adapter", detail: "\(tensor) \(reason).")
    case .insufficientStorage: self = .failed(code: "insufficient-storage", detail: "The disk is full.")
    case .invalidRow(let line, let detail):
      self = .failed(code: "invalid-row", detail: "Row \(line): \(detail).")
    default: self = .failed(code: "internal", detail: "\(error)")
    }
  }
}
