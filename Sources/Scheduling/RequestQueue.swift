internal import DequeModule
internal import HeapModule

/// Rows that wait, fair in tokens between classes, within a class between principals, within a principal between
/// tasks. A value; it knows no clock, no thread and no batch.
///
/// Each class, principal and lane (the rows of one task) carries the tokens served so far, and the least served goes
/// first: start-time fair queueing, which is deficit round robin without a quantum to choose. Who arrives starts at
/// what the last one served had, so waiting earns no credit and a flood delays others by one row each.
public struct RequestQueue: Sendable {
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
    var queued: QueuedRows
  }

  struct Lane: Sendable {
    var waiting: Deque<Waiting> = []
    var served: Int

    /// Takes out the first rows, never a whole lane's more.
    mutating func drop(_ count: Int) {
      var left = count
      while left > 0, let first = waiting.first?.queued.rows.count {
        if left < first { waiting[0].queued.rows.removeFirst(left) } else { waiting.removeFirst() }
        left -= min(left, first)
      }
    }
  }

  /// What a level knows of its members: `clock` is the served count of the member last taken from.
  struct Level: Sendable {
    var served: Int
    var clock = 0
    /// Rows in it.
    var count = 0

    /// Takes what another one has served.
    mutating func count(as other: Level) { (served, clock) = (other.served, other.clock) }
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
    var lanes: [LaneKey] = []
    var rows = 0

    mutating func add(_ lane: LaneKey, rows: Int) {
      lanes.append(lane)
      self.rows += rows
    }
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
  /// Tasks with rows that wait.
  public var tasks: Set<String> { Set(principals.values.flatMap(\.lanes.keys)) }

  /// Whether `rows` more would be admitted; changes nothing.
  public func check(rows: Int, of rowClass: RowClass = .interactive) throws(Full) {
    let depth = count(of: rowClass)
    let limit = limits[rowClass.rawValue]
    guard rows <= limit - depth else { throw Full(depth: depth, limit: limit) }
  }

  /// Admits all rows or none.
  public mutating func append(_ list: [QueuedRows]) throws(Full) {
    for rowClass in RowClass.allCases {
      try check(rows: list.reduce(0) { $0 + ($1.rowClass == rowClass ? $1.rows.count : 0) }, of: rowClass)
    }
    var last: Deadline?
    for queued in list where !queued.rows.isEmpty {
      revision += 1
      insert(queued)
      let deadline = Deadline(at: queued.deadline, request: queued.request)
      if deadline != last { deadlines.insert(deadline) }
      last = deadline
    }
  }

  /// Takes the plan's rows out; the only call that does. The queue must not have changed since `plan`.
  public mutating func commit(_ plan: BatchPlan) {
    precondition(plan.revision == revision, "queue: the plan is stale")
    guard !plan.lanes.isEmpty else { return }
    revision += 1
    for (index, level) in plan.classes.enumerated() {
      classes[index].count(as: level)
    }
    for (key, level) in plan.principals { principals[key]?.level.count(as: level) }
    for taken in plan.lanes {
      classes[taken.key.principal.rowClass.rawValue].count -= taken.count
      Self.release(taken.key.task, taken.count, of: &principals[taken.key.principal]) {
        $0.served = taken.served
        $0.drop(taken.count)
      }
    }
    for queued in plan.parts { forget(queued) }
    settle()
  }

  /// Takes out all rows of a request, and no others; in the order of their arrival.
  public mutating func cancel(request: UInt64) -> [QueuedRows] { remove(request) { _ in true } }

  /// Takes out all rows whose deadline has passed, in the order of their deadlines.
  public mutating func expire(now: Int64) -> [QueuedRows] {
    var gone: [QueuedRows] = []
    while let next = deadlines.min, next.at <= now {
      _ = deadlines.popMin()
      gone += remove(next.request) { $0.deadline <= now }
    }
    return gone
  }

  /// When the next row expires, or nil when none waits.
  public var nextDeadline: Int64? { deadlines.min?.at }

  // MARK: - Bookkeeping

  private mutating func insert(_ queued: QueuedRows) {
    let index = queued.rowClass.rawValue
    let key = PrincipalKey(rowClass: queued.rowClass, name: queued.principal)
    if classes[index].count == 0 {
      // A class that was empty goes on where the least served waiting one is.
      let floor = classes.lazy.filter { $0.count > 0 }.map(\.served).min() ?? 0
      classes[index].served = max(classes[index].served, floor)
    }
    let waiting = Waiting(sequence: nextSequence, queued: queued)
    Self.add(
      waiting, to: &principals[key, default: Principal(level: Level(served: classes[index].clock))])
    classes[index].count += queued.rows.count
    nextSequence += UInt64(queued.rows.count)
    tokens += queued.rows.reduce(0) { $0 + $1.tokens }
    let lane = LaneKey(principal: key, task: queued.task)
    requests[queued.request, default: Request()].add(lane, rows: queued.rows.count)
  }

  private static func add(_ waiting: Waiting, to principal: inout Principal) {
    let clock = principal.level.clock
    principal.lanes[waiting.queued.task, default: Lane(served: clock)].waiting.append(waiting)
    principal.level.count += waiting.queued.rows.count
  }

  private mutating func remove(
    _ request: UInt64, where isGone: (QueuedRows) -> Bool
  ) -> [QueuedRows] {
    guard let entry = requests[request] else { return [] }
    var gone: [Waiting] = []
    for key in entry.lanes {
      guard let lane = principals[key.principal]?.lanes[key.task] else { continue }
      let leaving = lane.waiting.filter { $0.queued.request == request && isGone($0.queued) }
      guard !leaving.isEmpty else { continue }
      gone += leaving
      let rows = leaving.reduce(0) { $0 + $1.queued.rows.count }
      classes[key.principal.rowClass.rawValue].count -= rows
      Self.release(key.task, rows, of: &principals[key.principal]) {
        $0.waiting.removeAll { $0.queued.request == request && isGone($0.queued) }
      }
    }
    guard !gone.isEmpty else { return [] }
    revision += 1
    for waiting in gone { forget(waiting.queued) }
    settle()
    return gone.sorted { $0.sequence < $1.sequence }.map(\.queued)
  }

  /// Takes `rows` out of a lane as `change` does, and drops what became empty.
  private static func release(
    _ task: String, _ rows: Int, of principal: inout Principal?, _ change: (inout Lane) -> Void
  ) {
    func take(from lane: inout Lane?) {
      guard var changed = lane else { return }
      lane = nil
      change(&changed)
      if !changed.waiting.isEmpty { lane = changed }
    }
    guard var left = principal else { return }
    principal = nil
    take(from: &left.lanes[task])
    left.level.count -= rows
    if left.level.count > 0 { principal = left }
  }

  private mutating func forget(_ queued: QueuedRows) {
    tokens -= queued.rows.reduce(0) { $0 + $1.tokens }
    requests[queued.request]?.rows -= queued.rows.count
    if requests[queued.request]?.rows == 0 { requests[queued.request] = nil }
  }

  /// Drops deadlines of requests that have left, and starts the counts anew when nothing waits.
  private mutating func settle() {
    while let next = deadlines.min, requests[next.request] == nil { _ = deadlines.popMin() }
    if isEmpty { classes = RowClass.allCases.map { _ in Level(served: 0) } }
  }
}
