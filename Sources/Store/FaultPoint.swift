internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Places where a crash test may stop the process, on either side of a commit.
public enum FaultPoint: String, Sendable, CaseIterable {
  case publishBeforeCommit = "publish.before-commit"
  case publishAfterCommit = "publish.after-commit"
  case checkpointBeforeCommit = "checkpoint.before-commit"
  case checkpointAfterCommit = "checkpoint.after-commit"
  case eventBeforeCommit = "event.before-commit"
  case eventAfterCommit = "event.after-commit"
  case jobBeforeCommit = "job.before-commit"
  case jobAfterCommit = "job.after-commit"
  case datasetBeforeCommit = "dataset.before-commit"
  case datasetAfterCommit = "dataset.after-commit"

  /// A closure for ``StoreOptions/fault`` that kills this process (SIGKILL) at the `count`-th time that a
  /// point is passed. `specification` is `name` or `name:count`, count from 1; nil when it is neither.
  public static func killing(_ specification: String) -> (@Sendable (FaultPoint) -> Void)? {
    let parts = specification.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2, let name = parts.first, let point = FaultPoint(rawValue: String(name)) else {
      return nil
    }
    let count = parts.count == 2 ? Int(parts[1]) : 1
    guard let count, count > 0 else { return nil }
    let left = FaultCounter(count)
    return { passed in
      if passed == point, left.reachesZero() { kill(getpid(), SIGKILL) }
    }
  }
}

/// Counts passes of one fault point, from any thread.
private final class FaultCounter: Sendable {
  private let left: Mutex<Int>

  init(_ count: Int) { left = Mutex(count) }

  func reachesZero() -> Bool {
    left.withLock { left in
      left -= 1
      return left == 0
    }
  }
}
