internal import Store

extension Node {
  /// Refuses a job where as many wait as may, before anything of it is looked at.
  func admitJob() async throws(ServingError) {
    let queue = try await stored { () throws(StoreError) in try await store.jobQueue() }
    guard queue.queued >= configuration.queueJobs else { return }
    throw .overloaded(
      depth: queue.queued, limit: configuration.queueJobs,
      retryAfterSeconds: Int(min(3_600, max(1, (queue.secondsUntilNext ?? 1).rounded(.up)))))
  }
}
