internal import Store

extension Node {
  /// Refuses a job where as many wait as may, before anything of it is looked at; what several callers pass here together
  /// is counted again as the store takes them.
  func admitJob() async throws(ServingError) {
    let queue = try await stored { () throws(StoreError) in try await store.jobQueue() }
    guard queue.queued >= configuration.queueJobs else { return }
    throw ServingError(StoreError.queueFull(queue, limit: configuration.queueJobs))
  }
}
