internal import Glibc

/// The monotonic clock of queues and deadlines.
enum Clock {
  static func nanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
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
