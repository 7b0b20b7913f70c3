internal import Adapters
internal import Scheduling

extension InferenceScheduler {
  /// A request until its continuation is resumed.
  struct Request {
    let parts: [InferencePart]
    /// Rows.
    let count: Int
    let continuation: Waiter
    private let arrived: Int64
    private(set) var outcome = Outcome(predictions: [])
    /// Rows without an answer.
    private(set) var missing: Int

    init(_ parts: [InferencePart], count: Int, _ continuation: Waiter, arrived: Int64) {
      self.parts = parts
      self.count = count
      self.continuation = continuation
      self.arrived = arrived
      missing = count
    }

    /// Takes the answers to `rows`, which stand in a batch's from `first` on.
    mutating func fill(
      _ rows: Range<Int>, _ predictions: [Prediction], from first: Int, started: Int64, elapsed: Int64
    ) {
      if rows.count == count, predictions.count == count {
        outcome.predictions = predictions
      } else {
        if outcome.predictions.isEmpty {
          outcome.predictions = Array(repeating: .embedding([]), count: count)
        }
        outcome.predictions.replaceSubrange(rows, with: predictions[first..<first + rows.count])
      }
      missing -= rows.count
      outcome.queueNanoseconds = max(outcome.queueNanoseconds, started - arrived)
      outcome.computeNanoseconds = max(outcome.computeNanoseconds, elapsed)
    }
  }

  /// Rows on their way through a lane, and where their answers go.
  struct Batch: Sendable {
    let parts: [InferencePart]
    let tokens: Int
    /// By part.
    let requests: [UInt64]

    /// A request alone.
    init(_ parts: [InferencePart], tokens: Int, of request: UInt64) {
      self.parts = parts
      self.tokens = tokens
      requests = Array(repeating: request, count: parts.count)
    }

    /// What a plan takes; rows of requests that are gone are left out.
    init(_ plan: BatchPlan, _ partsOf: (UInt64) -> [InferencePart]?) {
      var parts: [InferencePart] = []
      var requests: [UInt64] = []
      for taken in plan.parts {
        guard let first = taken.rows.first?.place,
          var part = partsOf(taken.request)?.first(where: { $0.range.contains(first) })
        else { continue }
        part.range = first..<first + taken.rows.count
        parts.append(part)
        requests.append(taken.request)
      }
      self.parts = parts
      tokens = plan.tokens
      self.requests = requests
    }

    /// Rows.
    var count: Int { parts.reduce(0) { $0 + $1.count } }
  }
}
