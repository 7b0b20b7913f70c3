import Foundation
import Tensors

/// Repeated measurements of one thing.
struct Sample: Codable {
  var values: [Double] = []

  var median: Double { Self.quantile(values, 0.5) }
  var least: Double { values.min() ?? .nan }
  var most: Double { values.max() ?? .nan }

  /// Linear between neighbours; NaN of nothing.
  static func quantile(_ values: [Double], _ share: Double) -> Double {
    guard !values.isEmpty else { return .nan }
    let sorted = values.sorted()
    let at = share * Double(sorted.count - 1)
    let (low, high) = (Int(at.rounded(.down)), Int(at.rounded(.up)))
    return sorted[low] + (sorted[high] - sorted[low]) * (at - Double(low))
  }
}

/// Paired bootstrap over held-out rows (Efron and Tibshirani 1993, percentile interval): rows are drawn within a task,
/// and one draw takes a row of both methods and of all seeds together.
struct PairedBootstrap {
  static let resamples = 2_000
  static let seed: UInt64 = 20_240_902

  /// - Parameter differences: per task, per held-out row: mean over seeds of (right with X) - (right with Y).
  /// - Returns: mean over tasks, and the 95 % interval of that mean.
  static func interval(_ differences: [[Double]]) -> (mean: Double, low: Double, high: Double) {
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(values.count, 1)) }
    var random = RandomSource(seed: seed)
    let means = (0..<resamples).map { _ in
      mean(
        differences.map { rows in
          var sum = 0.0
          for _ in rows.indices { sum += rows[Int(random.next() % UInt64(rows.count))] }
          return sum / Double(max(rows.count, 1))
        })
    }
    return (mean(differences.map(mean)), Sample.quantile(means, 0.025), Sample.quantile(means, 0.975))
  }
}

extension Double {
  /// With so many digits after the point.
  func text(_ digits: Int) -> String { String(format: "%.\(digits)f", self) }
}

extension Duration {
  var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}
