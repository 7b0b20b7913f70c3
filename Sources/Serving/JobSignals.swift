internal import Synchronization

/// Wakes those who wait for a job's next event.
final class JobSignals: Sendable {
  private struct State {
    var next: UInt64 = 0
    var waiters: [String: [UInt64: AsyncStream<Void>.Continuation]] = [:]
  }
  private let state = Mutex(State())

  /// A stream that yields once the job has moved; it ends with the task that reads it.
  func changes(of job: String) -> AsyncStream<Void> {
    let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let id = state.withLock { state in
      state.next += 1
      state.waiters[job, default: [:]][state.next] = continuation
      return state.next
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { state in
        state.waiters[job]?[id] = nil
        if state.waiters[job]?.isEmpty ?? false { state.waiters[job] = nil }
      }
    }
    return stream
  }

  func moved(_ job: String) {
    let waiters = state.withLock { Array(($0.waiters[job] ?? [:]).values) }
    for waiter in waiters { waiter.yield() }
  }

  /// Wakes all, whatever job they wait for.
  func wakeAll() {
    let waiters = state.withLock { $0.waiters.values.flatMap(\.values) }
    for waiter in waiters { waiter.yield() }
  }

  /// Waits for the stream's first element, at most so long.
  static func wait(for changes: AsyncStream<Void>, milliseconds: Int) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { for await _ in changes { return } }
      group.addTask { try? await Task.sleep(for: .milliseconds(milliseconds)) }
      await group.next()
      group.cancelAll()
    }
  }
}
