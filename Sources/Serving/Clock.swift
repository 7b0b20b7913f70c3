/// The monotonic clock of queues and deadlines.
enum Clock {
  private static let origin = ContinuousClock.now

  static func nanoseconds() -> Int64 {
    let parts = (ContinuousClock.now - origin).components
    return parts.seconds * 1_000_000_000 + parts.attoseconds / 1_000_000_000
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
