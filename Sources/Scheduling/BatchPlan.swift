internal import DequeModule
internal import HeapModule

/// What a batch would take: the rows in the order in which they are to run.
public struct BatchPlan: Sendable {
  struct Taken: Sendable {
    let key: RequestQueue.LaneKey
    let count: Int
    let served: Int
  }

  /// Sorted by subspace, then task, then arrival.
  public let parts: [QueuedRows]
  public let tokens: Int
  /// The queue's revision that it was made for, and the counts after it.
  let revision: UInt64
  let classes: [RequestQueue.Level]
  let principals: [(key: RequestQueue.PrincipalKey, level: RequestQueue.Level)]
  let lanes: [Taken]

  /// Rows in all parts.
  public var count: Int { parts.reduce(0) { $0 + $1.rows.count } }
}

extension RequestQueue {
  /// Lanes whose next row did not fit, after which a plan looks no further for smaller rows.
  private static var misfitLimit: Int { 16 }

  /// The next batch within its budgets: fair order, filled with smaller rows of others where a row does not fit. That
  /// row keeps its turn, so it is first in the next batch; one row always fits, whatever its size. Changes nothing:
  /// asked twice it answers the same.
  public func plan(budgetTokens: Int, budgetRows: Int = .max) -> BatchPlan {
    var selection = Selection(self)
    var count = 0
    var sum = 0
    var misfits = 0
    while count < max(1, budgetRows), misfits < Self.misfitLimit, let next = selection.next() {
      if count == 0 || next.tokens <= budgetTokens - sum {
        count += 1
        sum += next.tokens
        selection.take(next, isInOrder: misfits == 0)
      } else {
        misfits += 1
        selection.setAside(next)
      }
    }
    let parts = selection.lanes.flatMap { $0.parts }.sorted { left, right in
      (left.queued.subspace, left.queued.task, left.sequence)
        < (right.queued.subspace, right.queued.task, right.sequence)
    }
    return BatchPlan(
      parts: parts.map(\.queued), tokens: sum, revision: revision, classes: selection.classes,
      principals: selection.principals.filter(\.isOpen).map { ($0.key, $0.level) },
      lanes: selection.lanes.filter { $0.count > 0 }.map {
        .init(key: $0.key, count: $0.count, served: $0.served)
      })
  }
}

/// The counts of a plan in the making, over an untouched queue. Each level is a heap of who waits in it; who waits is
/// a number, so that taking a row hashes nothing.
private struct Selection {
  typealias Queue = RequestQueue

  /// A lane's next row, taken off the heaps.
  struct Choice {
    let lane: Int
    let tokens: Int
  }

  struct Candidate: Comparable {
    let served: Int
    let sequence: UInt64
    let index: Int
    static func < (left: Self, right: Self) -> Bool {
      left.served != right.served ? left.served < right.served : left.sequence < right.sequence
    }
  }

  struct PrincipalCounts {
    let key: Queue.PrincipalKey
    var level: Queue.Level
    /// Whether its lanes were listed.
    var isOpen = false
    var waiting = Heap<Candidate>()
  }

  struct LaneCounts {
    let key: Queue.LaneKey
    let principal: Int
    let waiting: Deque<Queue.Waiting>
    var served: Int
    /// Rows taken, and where the next one stands.
    var count = 0
    var request = 0
    var row = 0

    /// The next row, nil at the end.
    var next: (tokens: Int, sequence: UInt64)? {
      guard request < waiting.count else { return nil }
      let (rows, sequence) = (waiting[request].queued.rows, waiting[request].sequence)
      return (rows[rows.startIndex + row].tokens, sequence + UInt64(row))
    }

    mutating func advance() {
      count += 1
      row += 1
      if row == waiting[request].queued.rows.count { (request, row) = (request + 1, 0) }
    }

    /// What was taken.
    var parts: [Queue.Waiting] {
      var parts = Array(waiting.prefix(request))
      if row > 0 {
        var part = waiting[request]
        part.queued.rows = part.queued.rows.prefix(row)
        parts.append(part)
      }
      return parts
    }
  }

  private let queue: Queue
  var classes: [Queue.Level]
  var principals: [PrincipalCounts] = []
  var lanes: [LaneCounts] = []
  private var waitingPrincipals: [Heap<Candidate>]
  /// The lane to go on with where nobody else waits: then there is no turn to find.
  private var alone: Int?

  init(_ queue: Queue) {
    self.queue = queue
    classes = queue.classes
    waitingPrincipals = RowClass.allCases.map { _ in Heap() }
    for (key, principal) in queue.principals {
      let first = principal.lanes.values.lazy.compactMap { $0.waiting.first?.sequence }.min() ?? .max
      waitingPrincipals[key.rowClass.rawValue].insert(
        Candidate(served: principal.level.served, sequence: first, index: principals.count))
      principals.append(PrincipalCounts(key: key, level: principal.level))
    }
  }

  /// The row whose turn it is, taken off the heaps; `take` or `setAside` says what becomes of its lane.
  mutating func next() -> Choice? {
    if let lane = alone, let next = lanes[lane].next {
      alone = nil
      return Choice(lane: lane, tokens: next.tokens)
    }
    var best: Int?
    for index in waitingPrincipals.indices where !waitingPrincipals[index].isEmpty {
      if let held = best, classes[held].served <= classes[index].served { continue }
      best = index
    }
    guard let best, let principal = waitingPrincipals[best].popMin()?.index else { return nil }
    if !principals[principal].isOpen { open(principal) }
    guard let lane = principals[principal].waiting.popMin()?.index, let next = lanes[lane].next else {
      return nil
    }
    return Choice(lane: lane, tokens: next.tokens)
  }

  private mutating func open(_ index: Int) {
    let key = principals[index].key
    principals[index].isOpen = true
    for (task, lane) in queue.principals[key]?.lanes ?? [:] {
      let counts = LaneCounts(
        key: .init(principal: key, task: task), principal: index, waiting: lane.waiting, served: lane.served)
      if let next = counts.next {
        principals[index].waiting.insert(
          Candidate(served: lane.served, sequence: next.sequence, index: lanes.count))
        lanes.append(counts)
      }
    }
  }

  /// Clocks follow rows taken in order alone: what fills a gap must not let arrivals start ahead of who waits for room.
  mutating func take(_ choice: Choice, isInOrder: Bool) {
    let tokens = max(1, choice.tokens)
    let principal = lanes[choice.lane].principal
    let rowClass = principals[principal].key.rowClass
    let before = principals[principal].level.served
    if isInOrder {
      classes[rowClass.rawValue].clock = max(classes[rowClass.rawValue].clock, before)
      principals[principal].level.clock = max(principals[principal].level.clock, lanes[choice.lane].served)
    }
    classes[rowClass.rawValue].served += tokens * rowClass.cost
    principals[principal].level.served = before + tokens
    lanes[choice.lane].served += tokens
    lanes[choice.lane].advance()
    if let next = lanes[choice.lane].next {
      if principals[principal].waiting.isEmpty, waitingPrincipals.allSatisfy({ $0.isEmpty }) {
        alone = choice.lane
        return
      }
      principals[principal].waiting.insert(
        Candidate(served: lanes[choice.lane].served, sequence: next.sequence, index: choice.lane))
    }
    returnPrincipal(principal)
  }

  /// Leaves the lane out of this plan; its counts stay, so its turn does.
  mutating func setAside(_ choice: Choice) { returnPrincipal(lanes[choice.lane].principal) }

  private mutating func returnPrincipal(_ index: Int) {
    guard let lane = principals[index].waiting.min else { return }
    waitingPrincipals[principals[index].key.rowClass.rawValue].insert(
      Candidate(served: principals[index].level.served, sequence: lane.sequence, index: index))
  }
}
