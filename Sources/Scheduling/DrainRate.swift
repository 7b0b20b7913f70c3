/// How fast a queue empties, as a moving average: the source of `Retry-After`.
public struct DrainRate: Sendable {
  /// Weight of the newest batch.
  static let weight = 0.2
  private var rowsPerSecond: Double?

  public init() {}

  /// A batch of `rows` took `seconds`.
  public mutating func record(rows: Int, seconds: Double) {
    guard seconds > 0, rows > 0 else { return }
    let rate = Double(rows) / seconds
    rowsPerSecond = rowsPerSecond.map { $0 + Self.weight * (rate - $0) } ?? rate
  }

  /// Whole seconds until `rows` have left, 1 through 60; 1 before the first batch.
  public func secondsUntilDrained(rows: Int) -> Int {
    guard let rowsPerSecond else { return 1 }
    // Bounded before it becomes an integer: a count of any size is a fair question.
    return Int(min(60, max(1, (Double(rows) / rowsPerSecond).rounded(.up))))
  }
}
