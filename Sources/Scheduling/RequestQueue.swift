internal import DequeModule

/// One row that waits for a batch.
public struct QueuedRow<Item: Sendable>: Sendable {
  /// The request that it belongs to; all rows of a request are cancelled together.
  public let request: UInt64
  /// Sort key: rows of one subspace are neighbours in a batch, and within it rows of one task.
  public let subspace: String
  public let task: String
  public let tokens: Int
  /// Nanoseconds on the caller's clock.
  public let arrived: Int64
  public let deadline: Int64
  public let item: Item

  public init(
    request: UInt64, subspace: String, task: String, tokens: Int, arrived: Int64, deadline: Int64, item: Item
  ) {
    self.request = request
    self.subspace = subspace
    self.task = task
    self.tokens = tokens
    self.arrived = arrived
    self.deadline = deadline
    self.item = item
  }
}

/// What a batch would take: the rows in the order in which they are to run.
public struct BatchPlan<Item: Sendable>: Sendable {
  public let rows: [QueuedRow<Item>]
  /// Rows taken from each task's lane, in lane order, and where the next turn starts.
  let taken: [String: Int]
  let nextTurn: Int
}

/// Rows that wait, fair between tasks: every batch takes one row of each task in turn, so a flood of one task delays the
/// others by at most one row each. A value; it knows no clock, no thread and no batch.
public struct RequestQueue<Item: Sendable>: Sendable {
  /// Why a request is not admitted.
  public struct Full: Error, Equatable, Sendable {
    public let depth: Int
    public let limit: Int
  }

  public let limitRows: Int
  public private(set) var count = 0
  public private(set) var tokens = 0
  private var lanes: [String: Deque<QueuedRow<Item>>] = [:]
  /// Tasks with rows, in the order of their turns.
  private var turns: [String] = []
  private var turn = 0

  public init(limitRows: Int) { self.limitRows = limitRows }

  public var isEmpty: Bool { count == 0 }

  /// Whether `rows` more would be admitted; changes nothing.
  public func check(rows: Int) throws(Full) {
    guard count + rows <= limitRows else { throw Full(depth: count, limit: limitRows) }
  }

  /// Admits all rows of a request or none.
  public mutating func append(_ rows: [QueuedRow<Item>]) throws(Full) {
    try check(rows: rows.count)
    for row in rows {
      if lanes[row.task] == nil {
        lanes[row.task] = []
        turns.append(row.task)
      }
      lanes[row.task]?.append(row)
      count += 1
      tokens += row.tokens
    }
  }

  /// The next batch within a budget. One row always fits, whatever its size. Asking twice gives the same plan.
  public func plan(budgetTokens: Int) -> BatchPlan<Item> {
    var rows: [QueuedRow<Item>] = []
    var taken: [String: Int] = [:]
    var sum = 0
    var at = turn
    var blocked = Set<String>()
    while blocked.count < turns.count {
      let task = turns[at % turns.count]
      at += 1
      if blocked.contains(task) { continue }
      let position = taken[task, default: 0]
      guard let lane = lanes[task], position < lane.count else {
        blocked.insert(task)
        continue
      }
      let row = lane[position]
      guard rows.isEmpty || sum + row.tokens <= budgetTokens else {
        // The turn stays with the row that did not fit, so that it is first in the next batch.
        at -= 1
        break
      }
      rows.append(row)
      taken[task] = position + 1
      sum += row.tokens
    }
    rows = rows.enumerated().sorted { left, right in
      (left.element.subspace, left.element.task, left.offset)
        < (right.element.subspace, right.element.task, right.offset)
    }.map(\.element)
    return BatchPlan(rows: rows, taken: taken, nextTurn: turns.isEmpty ? 0 : at % turns.count)
  }

  /// Takes the plan's rows out; the only call that does. The queue must not have changed since `plan`.
  public mutating func commit(_ plan: BatchPlan<Item>) {
    for (task, number) in plan.taken {
      precondition((lanes[task]?.count ?? 0) >= number, "queue: the plan is stale")
      lanes[task]?.removeFirst(number)
    }
    count -= plan.rows.count
    tokens -= plan.rows.reduce(0) { $0 + $1.tokens }
    let next = turns.isEmpty ? nil : turns[plan.nextTurn]
    prune(next: next)
  }

  /// Takes out all rows of a request.
  public mutating func cancel(request: UInt64) -> [QueuedRow<Item>] { remove { $0.request == request } }

  /// Takes out all rows whose deadline has passed.
  public mutating func expire(now: Int64) -> [QueuedRow<Item>] { remove { $0.deadline <= now } }

  /// The next deadline, or nil.
  public var nextDeadline: Int64? { lanes.values.lazy.joined().map(\.deadline).min() }

  private mutating func remove(where isGone: (QueuedRow<Item>) -> Bool) -> [QueuedRow<Item>] {
    var gone: [QueuedRow<Item>] = []
    for task in turns {
      guard let lane = lanes[task], lane.contains(where: isGone) else { continue }
      gone += lane.filter(isGone)
      lanes[task] = Deque(lane.filter { !isGone($0) })
    }
    count -= gone.count
    tokens -= gone.reduce(0) { $0 + $1.tokens }
    prune(next: turns.isEmpty ? nil : turns[turn % turns.count])
    return gone
  }

  /// Forgets tasks without rows, and lets `next` (or who stands after it) have the next turn.
  private mutating func prune(next: String?) {
    let start = next.flatMap { turns.firstIndex(of: $0) } ?? 0
    let order = turns[start...] + turns[..<start]
    turns = order.filter { !(lanes[$0]?.isEmpty ?? true) }
    for task in order where lanes[task]?.isEmpty ?? false { lanes[task] = nil }
    turn = 0
  }
}
