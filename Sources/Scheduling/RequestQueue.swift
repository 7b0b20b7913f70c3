internal import DequeModule
internal import HeapModule

/// Rows that wait, fair in tokens between classes, within a class between principals, within a principal between
/// tasks. A value; it knows no clock, no thread and no batch.
///
/// Each class, principal and lane (the rows of one task) carries the tokens served so far, and the least served goes
/// first: start-time fair queueing, which is deficit round robin without a quantum to choose. Who arrives starts at
/// what the last one served had, so waiting earns no credit and a flood delays others by one row each.
public struct RequestQueue<Item: Sendable>: Sendable {
  /// Why a request is not admitted.
  public struct Full: Error, Equatable, Sendable {
    public let depth: Int
    public let limit: Int
  }

  struct PrincipalKey: Hashable, Sendable {
    let rowClass: RowClass
    let name: String
  }

  struct LaneKey: Hashable, Sendable {
    let principal: PrincipalKey
    let task: String
  }

  struct Waiting: Sendable {
    /// Order of arrival over the whole queue: breaks ties, so that a plan is a function of the calls made.
    let sequence: UInt64
    let row: QueuedRow<Item>
  }

  struct Lane: Sendable {
    var rows: Deque<Waiting> = []
    var served: Int
  }

  /// What a level knows of its members: `clock` is the served count of the member last taken from.
  struct Level: Sendable {
    var served: Int
    var clock = 0
    /// Rows in it.
    var count = 0
  }

  struct Principal: Sendable {
    var level: Level
    var lanes: [String: Lane] = [:]
  }

  private struct Deadline: Comparable, Sendable {
    let at: Int64
    let request: UInt64
    static func < (left: Self, right: Self) -> Bool { (left.at, left.request) < (right.at, right.request) }
  }

  /// Where a request's rows are.
  private struct Request: Sendable {
    var lanes: Set<LaneKey> = []
    var rows = 0
  }

  private let limits: [Int]
  public private(set) var tokens = 0
  /// Counts changes; a plan of another revision is refused.
  private(set) var revision: UInt64 = 0
  private(set) var classes: [Level] = RowClass.allCases.map { _ in Level(served: 0) }
  private(set) var principals: [PrincipalKey: Principal] = [:]
  private var requests: [UInt64: Request] = [:]
  private var deadlines = Heap<Deadline>()
  private var nextSequence: UInt64 = 0

  /// - Parameters:
  ///   - limitRows: rows that may wait in the interactive class.
  ///   - limitBulkRows: rows that may wait in the bulk class; the same where not given.
  public init(limitRows: Int, limitBulkRows: Int? = nil) {
    precondition(limitRows > 0 && (limitBulkRows ?? 1) > 0, "queue: a class needs room for one row")
    limits = [limitRows, limitBulkRows ?? limitRows]
  }

  public var limitRows: Int { limits[RowClass.interactive.rawValue] }
  /// Rows that wait, over all classes.
  public var count: Int { classes.reduce(0) { $0 + $1.count } }
  public var isEmpty: Bool { classes.allSatisfy { $0.count == 0 } }
  /// Rows that wait in one class.
  public func count(of rowClass: RowClass) -> Int { classes[rowClass.rawValue].count }

  /// Whether `rows` more would be admitted; changes nothing.
  public func check(rows: Int, of rowClass: RowClass = .interactive) throws(Full) {
    let depth = count(of: rowClass)
    let limit = limits[rowClass.rawValue]
    guard rows <= limit - depth else { throw Full(depth: depth, limit: limit) }
  }

  /// Admits all rows or none.
  public mutating func append(_ rows: [QueuedRow<Item>]) throws(Full) {
    for rowClass in RowClass.allCases {
      try check(rows: rows.count { $0.rowClass == rowClass }, of: rowClass)
    }
    guard !rows.isEmpty else { return }
    revision += 1
    for row in rows { insert(row) }
    for deadline in Set(rows.map { [$0.deadline, Int64(bitPattern: $0.request)] }) {
      deadlines.insert(Deadline(at: deadline[0], request: UInt64(bitPattern: deadline[1])))
    }
  }

  /// Takes the plan's rows out; the only call that does. The queue must not have changed since `plan`.
  public mutating func commit(_ plan: BatchPlan<Item>) {
    precondition(plan.revision == revision, "queue: the plan is stale")
    guard !plan.rows.isEmpty else { return }
    revision += 1
    for (index, level) in plan.classes.enumerated() {
      classes[index].served = level.served
      classes[index].clock = level.clock
    }
    for (key, level) in plan.principals {
      principals[key]?.level.served = level.served
      principals[key]?.level.clock = level.clock
    }
    for (key, taken) in plan.lanes {
      principals[key.principal]?.lanes[key.task]?.served = taken.served
      principals[key.principal]?.lanes[key.task]?.rows.removeFirst(taken.count)
      release(key, rows: taken.count)
    }
    for row in plan.rows { forget(row) }
    settle()
  }

  /// Takes out all rows of a request, and no others.
  public mutating func cancel(request: UInt64) -> [QueuedRow<Item>] { remove(request) { _ in true } }

  /// Takes out all rows whose deadline has passed, in the order of their deadlines.
  public mutating func expire(now: Int64) -> [QueuedRow<Item>] {
    var gone: [QueuedRow<Item>] = []
    while let next = deadlines.min, next.at <= now {
      _ = deadlines.popMin()
      gone += remove(next.request) { $0.deadline <= now }
    }
    return gone
  }

  /// When the next row expires, or nil when none waits.
  public var nextDeadline: Int64? { deadlines.min?.at }

  // MARK: - Bookkeeping

  private mutating func insert(_ row: QueuedRow<Item>) {
    let index = row.rowClass.rawValue
    let key = PrincipalKey(rowClass: row.rowClass, name: row.principal)
    if classes[index].count == 0 {
      // A class that was empty goes on where the least served waiting one is.
      let floor = classes.lazy.filter { $0.count > 0 }.map(\.served).min() ?? 0
      classes[index].served = max(classes[index].served, floor)
    }
    var principal = principals[key] ?? Principal(level: Level(served: classes[index].clock))
    var lane = principal.lanes[row.task] ?? Lane(served: principal.level.clock)
    principals[key] = nil
    principal.lanes[row.task] = nil
    lane.rows.append(Waiting(sequence: nextSequence, row: row))
    principal.lanes[row.task] = lane
    principal.level.count += 1
    principals[key] = principal
    classes[index].count += 1
    nextSequence += 1
    tokens += row.tokens
    requests[row.request, default: Request()].lanes.insert(LaneKey(principal: key, task: row.task))
    requests[row.request]?.rows += 1
  }

  private mutating func remove(
    _ request: UInt64, where isGone: (QueuedRow<Item>) -> Bool
  ) -> [QueuedRow<Item>] {
    guard let entry = requests[request] else { return [] }
    var gone: [Waiting] = []
    for key in entry.lanes {
      guard let lane = principals[key.principal]?.lanes[key.task] else { continue }
      let leaving = lane.rows.filter { $0.row.request == request && isGone($0.row) }
      guard !leaving.isEmpty else { continue }
      gone += leaving
      principals[key.principal]?.lanes[key.task]?.rows.removeAll {
        $0.row.request == request && isGone($0.row)
      }
      release(key, rows: leaving.count)
    }
    guard !gone.isEmpty else { return [] }
    revision += 1
    for waiting in gone { forget(waiting.row) }
    settle()
    return gone.sorted { $0.sequence < $1.sequence }.map(\.row)
  }

  /// Takes `rows` off the counts above a lane, and drops what became empty.
  private mutating func release(_ key: LaneKey, rows: Int) {
    classes[key.principal.rowClass.rawValue].count -= rows
    guard var principal = principals.removeValue(forKey: key.principal) else { return }
    principal.level.count -= rows
    if principal.lanes[key.task]?.rows.isEmpty ?? false { principal.lanes[key.task] = nil }
    if principal.level.count > 0 { principals[key.principal] = principal }
  }

  private mutating func forget(_ row: QueuedRow<Item>) {
    tokens -= row.tokens
    requests[row.request]?.rows -= 1
    if requests[row.request]?.rows == 0 { requests[row.request] = nil }
  }

  /// Drops deadlines of requests that have left, and starts the counts anew when nothing waits.
  private mutating func settle() {
    while let next = deadlines.min, requests[next.request] == nil { _ = deadlines.popMin() }
    if isEmpty { classes = RowClass.allCases.map { _ in Level(served: 0) } }
  }
}
