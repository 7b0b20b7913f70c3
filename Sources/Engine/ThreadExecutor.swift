internal import Dispatch

/// A serial executor with a thread of its own, for an actor whose work is long or blocks: preparing data, extracting a
/// subspace, applying an optimiser step. It keeps such work off the cooperative pool.
public final class ThreadExecutor: SerialExecutor {
  private let queue: DispatchQueue

  public init(name: String) { queue = DispatchQueue(label: name) }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let executor = asUnownedSerialExecutor()
    queue.async { job.runSynchronously(on: executor) }
  }

  public func checkIsolated() { dispatchPrecondition(condition: .onQueue(queue)) }
}
