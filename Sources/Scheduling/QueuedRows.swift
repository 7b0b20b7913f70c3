/// How urgent a row is. Each class has its own bound, and its own share of a batch when both wait.
public enum RowClass: Int, Sendable, CaseIterable {
  /// Somebody waits for the answer.
  case interactive
  /// Evaluation and other work without a person behind it.
  case bulk

  /// What a token costs against the class's share: bulk gets one part in nine while both wait.
  var cost: Int { self == .interactive ? 1 : 8 }
}

/// Rows of one request and task that wait together. They leave in their order, as many at a time as a batch has room
/// for. The queue knows a row as its place in its request; what stands there is the caller's.
public struct QueuedRows: Sendable {
  public struct Row: Sendable, Equatable {
    /// The row's place in its request.
    public let place: Int
    public let tokens: Int

    public init(place: Int, tokens: Int) {
      self.place = place
      self.tokens = tokens
    }
  }

  /// All rows of a request are cancelled together.
  public let request: UInt64
  /// Sort key: rows of one subspace are neighbours in a batch, and within it rows of one task.
  public let subspace: String
  public let task: String
  /// Who asked: shares are equal between principals, and within one between its tasks.
  public let principal: String
  public let rowClass: RowClass
  /// Nanoseconds on the caller's clock.
  public let deadline: Int64
  public var rows: ArraySlice<Row>

  public init(
    request: UInt64, subspace: String, task: String, principal: String = "",
    rowClass: RowClass = .interactive, deadline: Int64, rows: [Row]
  ) {
    self.request = request
    self.subspace = subspace
    self.task = task
    self.principal = principal
    self.rowClass = rowClass
    self.deadline = deadline
    self.rows = rows[...]
  }
}
