/// How urgent a row is. Each class has its own bound, and its own share of a batch when both wait.
public enum RowClass: Int, Sendable, CaseIterable {
  /// Somebody waits for the answer.
  case interactive
  /// Evaluation and other work without a person behind it.
  case bulk

  /// What a token costs against the class's share: bulk gets one part in nine while both wait.
  var cost: Int { self == .interactive ? 1 : 8 }
}

/// One row that waits for a batch.
public struct QueuedRow<Item: Sendable>: Sendable {
  /// The request that it belongs to; all rows of a request are cancelled together.
  public let request: UInt64
  /// Sort key: rows of one subspace are neighbours in a batch, and within it rows of one task.
  public let subspace: String
  public let task: String
  /// Who asked: shares are equal between principals, and within one between its tasks.
  public let principal: String
  public let rowClass: RowClass
  public let tokens: Int
  /// Nanoseconds on the caller's clock.
  public let arrived: Int64
  public let deadline: Int64
  public let item: Item

  public init(
    request: UInt64, subspace: String, task: String, principal: String = "",
    rowClass: RowClass = .interactive, tokens: Int, arrived: Int64, deadline: Int64, item: Item
  ) {
    self.request = request
    self.subspace = subspace
    self.task = task
    self.principal = principal
    self.rowClass = rowClass
    self.tokens = tokens
    self.arrived = arrived
    self.deadline = deadline
    self.item = item
  }
}
