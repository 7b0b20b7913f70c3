internal import DequeModule
internal import HeapModule

/// What a batch would take: the rows in the order in which they are to run.
public struct BatchPlan<Item: Sendable>: Sendable {
  /// Rows of one task and subspace that stand together.
  public struct Group: Equatable, Sendable {
    public let subspace: String
    public let task: String
    /// Into ``BatchPlan/rows``.
    public let rows: Range<Int>
  }

  struct Taken: Sendable {
    var count = 0
    var served: Int
  }

  /// Sorted by subspace, then task, then arrival.
  public let rows: [QueuedRow<Item>]
  public let tokens: Int
  /// The queue's revision that it was made for, and the counts after it.
  let revision: UInt64
  let classes: [RequestQueue<Item>.Level]
  let principals: [RequestQueue<Item>.PrincipalKey: RequestQueue<Item>.Level]
  let lanes: [RequestQueue<Item>.LaneKey: Taken]

  /// The runs of equal subspace and task, in order.
  public var groups: [Group] {
    var groups: [Group] = []
    var start = 0
    for end in 1..<(rows.count + 1) where !rows.isEmpty {
      let first = rows[start]
      if end < rows.count, rows[end].task == first.task, rows[end].subspace == first.subspace { continue }
      groups.append(Group(subspace: first.subspace, task: first.task, rows: start..<end))
      start = end
    }
    return groups
  }
}

extension RequestQueue {
  /// Lanes whose next row did not fit, after which a plan looks no further for smaller rows.
  private static var misfitLimit: Int { 16 }

  /// The next batch within its budgets: fair order, filled with smaller rows of others where a row does not fit. That
  /// row keeps its turn, so it is first in the next batch; one row always fits, whatever its size. Changes nothing:
  /// asked twice it answers the same.
  public func plan(budgetTokens: Int, budgetRows: Int = .max) -> BatchPlan<Item> {
    var selection = Selection(self)
    var chosen: [Waiting] = []
    var sum = 0
    var misfits = 0
    while chosen.count < max(1, budgetRows), misfits < Self.misfitLimit, let next = selection.next() {
      let tokens = next.waiting.row.tokens
      if chosen.isEmpty || tokens <= budgetTokens - sum {
        chosen.append(next.waiting)
        sum += tokens
        selection.take(next, isInOrder: misfits == 0)
      } else {
        misfits += 1
        selection.setAside(next)
      }
    }
    chosen.sort { left, right in
      (left.row.subspace, left.row.task, left.sequence) < (right.row.subspace, right.row.task, right.sequence)
    }
    return BatchPlan(
      rows: chosen.map(\.row), tokens: sum, revision: revision, classes: selection.classes,
      principals: selection.levels, lanes: selection.taken)
  }
}

/// The counts of a plan in the making, over an untouched queue. Each level is a heap of who waits in it.
private struct Selection<Item: Sendable> {
  typealias Queue = RequestQueue<Item>

  struct Choice {
    let waiting: Queue.Waiting
    let lane: Queue.LaneKey
    let laneServed: Int
  }

  private struct Candidate<Key>: Comparable {
    let served: Int
    let sequence: UInt64
    let key: Key
    static func < (left: Self, right: Self) -> Bool {
      (left.served, left.sequence) < (right.served, right.sequence)
    }
    static func == (left: Self, right: Self) -> Bool {
      (left.served, left.sequence) == (right.served, right.sequence)
    }
  }

  let queue: Queue
  var classes: [Queue.Level]
  var levels: [Queue.PrincipalKey: Queue.Level] = [:]
  var taken: [Queue.LaneKey: BatchPlan<Item>.Taken] = [:]
  private var waitingPrincipals: [Heap<Candidate<Queue.PrincipalKey>>]
  private var waitingLanes: [Queue.PrincipalKey: Heap<Candidate<Queue.LaneKey>>] = [:]

  init(_ queue: Queue) {
    self.queue = queue
    classes = queue.classes
    var candidates = RowClass.allCases.map { _ in [Candidate<Queue.PrincipalKey>]() }
    for (key, principal) in queue.principals {
      let first = principal.lanes.values.lazy.compactMap { $0.rows.first?.sequence }.min() ?? .max
      candidates[key.rowClass.rawValue].append(
        Candidate(served: principal.level.served, sequence: first, key: key))
    }
    waitingPrincipals = candidates.map { Heap($0) }
  }

  /// The row whose turn it is, taken off the heaps; `take` or `setAside` says what becomes of its lane.
  mutating func next() -> Choice? {
    let order = RowClass.allCases.filter { !waitingPrincipals[$0.rawValue].isEmpty }
    guard let first = order.min(by: { classes[$0.rawValue].served < classes[$1.rawValue].served }),
      let candidate = waitingPrincipals[first.rawValue].popMin(),
      let principal = queue.principals[candidate.key]
    else { return nil }
    let key = candidate.key
    if waitingLanes[key] == nil {
      levels[key] = principal.level
      waitingLanes[key] = Heap(
        principal.lanes.compactMap { task, lane in
          lane.rows.first.map {
            Candidate(
              served: lane.served, sequence: $0.sequence, key: Queue.LaneKey(principal: key, task: task))
          }
        })
    }
    guard let lane = waitingLanes[key]?.popMin(),
      let rows = principal.lanes[lane.key.task]?.rows
    else { return nil }
    return Choice(waiting: rows[taken[lane.key]?.count ?? 0], lane: lane.key, laneServed: lane.served)
  }

  /// Clocks follow rows taken in order alone: what fills a gap must not let arrivals start ahead of who waits for room.
  mutating func take(_ choice: Choice, isInOrder: Bool) {
    let tokens = max(1, choice.waiting.row.tokens)
    let key = choice.lane.principal
    let index = key.rowClass.rawValue
    let before = levels[key]?.served ?? 0
    if isInOrder { classes[index].clock = max(classes[index].clock, before) }
    classes[index].served += tokens * key.rowClass.cost
    if var level = levels[key] {
      if isInOrder { level.clock = max(level.clock, choice.laneServed) }
      level.served = before + tokens
      levels[key] = level
    }
    let count = (taken[choice.lane]?.count ?? 0) + 1
    taken[choice.lane] = .init(count: count, served: choice.laneServed + tokens)
    if let rows = queue.principals[key]?.lanes[choice.lane.task]?.rows, count < rows.count {
      waitingLanes[key]?.insert(
        Candidate(served: choice.laneServed + tokens, sequence: rows[count].sequence, key: choice.lane))
    }
    returnPrincipal(key)
  }

  /// Leaves the lane out of this plan; its counts stay, so its turn does.
  mutating func setAside(_ choice: Choice) { returnPrincipal(choice.lane.principal) }

  private mutating func returnPrincipal(_ key: Queue.PrincipalKey) {
    guard let lane = waitingLanes[key]?.min else { return }
    waitingPrincipals[key.rowClass.rawValue].insert(
      Candidate(served: levels[key]?.served ?? 0, sequence: lane.sequence, key: key))
  }
}
