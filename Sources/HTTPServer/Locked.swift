internal import Glibc

/// State behind a pthread mutex. `Synchronization.Mutex` does the same, but its futex lives in a library that the thread
/// sanitizer does not see into, so that it reports each guarded access as a race.
// SAFETY: the mutex owns `state` · it is private and touched in `withLock` alone.
final class Locked<State>: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private var state: State

  init(_ state: sending State) {
    self.state = state
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  func withLock<R>(_ body: (inout State) -> sending R) -> sending R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body(&state)
  }
}
