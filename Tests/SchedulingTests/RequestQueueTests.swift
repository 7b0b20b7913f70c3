import Testing

@testable import Scheduling

/// One row of `tokens` for a task; `item` is its place, unique in a test.
func row(
  _ item: Int, request: UInt64 = 0, task: String = "a", subspace: String = "s", principal: String = "p",
  rowClass: RowClass = .interactive, tokens: Int = 1, deadline: Int64 = .max
) -> QueuedRows {
  QueuedRows(
    request: request, subspace: subspace, task: task, principal: principal, rowClass: rowClass,
    deadline: deadline, rows: [.init(place: item, tokens: tokens)])
}

extension Sequence<QueuedRows> {
  var items: [Int] { flatMap { $0.rows.map(\.place) } }
}

extension QueuedRows {
  var tokens: Int { rows.reduce(0) { $0 + $1.tokens } }
}

@Suite struct RequestQueueTests {
  @Test func aRequestIsAdmittedWholeOrNotAtAll() throws {
    var queue = RequestQueue(limitRows: 3, limitBulkRows: 1)
    try queue.append([row(0), row(1)])
    #expect(throws: RequestQueue.Full(depth: 2, limit: 3)) { try queue.append([row(2), row(3)]) }
    #expect(queue.count == 2)
    try queue.append([row(2), row(4, rowClass: .bulk)])
    #expect(throws: RequestQueue.Full(depth: 3, limit: 3)) { try queue.check(rows: 1) }
    #expect(throws: RequestQueue.Full(depth: 1, limit: 1)) { try queue.check(rows: 1, of: .bulk) }
    #expect(throws: RequestQueue.Full(depth: 3, limit: 3)) { try queue.check(rows: .max) }
  }

  @Test func aPlanIsAFunctionAndCommitDoesWhatItSaid() throws {
    var queue = RequestQueue(limitRows: 100)
    try queue.append((0..<20).map { row($0, task: ["a", "b", "c"][$0 % 3], tokens: 1 + $0 % 4) })
    var left = Set(0..<20)
    while !queue.isEmpty {
      let plan = queue.plan(budgetTokens: 7)
      let again = queue.plan(budgetTokens: 7)
      #expect(plan.parts.items == again.parts.items)
      let before = queue.count
      queue.commit(plan)
      #expect(queue.count == before - plan.count)
      #expect(plan.tokens == plan.parts.reduce(0) { $0 + $1.tokens } && plan.tokens <= 7)
      for item in plan.parts.items { #expect(left.remove(item) != nil) }
    }
    #expect(left.isEmpty && queue.tokens == 0 && queue.plan(budgetTokens: 7).parts.isEmpty)
  }

  @Test func rowsStandInGroupsOfSubspaceAndTask() throws {
    var queue = RequestQueue(limitRows: 100)
    let shape = [("s2", "a"), ("s1", "b"), ("s1", "a"), ("s2", "a"), ("s1", "b")]
    try queue.append(shape.enumerated().map { row($0, task: $1.1, subspace: $1.0) })
    let plan = queue.plan(budgetTokens: 100)
    #expect(plan.parts.items == [2, 1, 4, 0, 3])
    #expect(RequestQueue(limitRows: 1).plan(budgetTokens: 1).parts.isEmpty)
  }

  @Test func budgetsOfTokensAndRowsHold() throws {
    var queue = RequestQueue(limitRows: 100)
    try queue.append((0..<10).map { row($0, tokens: 10) })
    #expect(queue.plan(budgetTokens: 35).count == 3)
    #expect(queue.plan(budgetTokens: 1_000, budgetRows: 4).count == 4)
  }

  @Test func aRowLargerThanTheBudgetGoesAloneAndFirst() throws {
    var queue = RequestQueue(limitRows: 100)
    try queue.append([
      row(0, task: "a", tokens: 3), row(1, task: "b", tokens: 50), row(2, task: "c", tokens: 3),
    ])
    let first = queue.plan(budgetTokens: 10)
    // The large row did not fit behind the first; a smaller one of another task took the room.
    #expect(first.parts.items == [0, 2])
    queue.commit(first)
    try queue.append([row(3, task: "a", tokens: 3)])
    let second = queue.plan(budgetTokens: 10)
    #expect(second.parts.items == [1])
  }

  @Test func rowsThatWaitTogetherLeaveInPiecesAndKeepTheirTurn() throws {
    var queue = RequestQueue(limitRows: 100)
    func rows(_ places: Range<Int>, request: UInt64, task: String) -> QueuedRows {
      QueuedRows(
        request: request, subspace: "s", task: task, deadline: .max,
        rows: places.map { .init(place: $0, tokens: 10) })
    }
    try queue.append([rows(0..<5, request: 1, task: "a"), rows(5..<9, request: 2, task: "b")])
    let first = queue.plan(budgetTokens: 35)
    #expect(first.parts.map { $0.rows.map(\.place) } == [[0, 1], [5]])
    queue.commit(first)
    #expect(queue.count == 6 && queue.tokens == 60)
    let second = queue.plan(budgetTokens: 40)
    #expect(second.parts.map { $0.rows.map(\.place) } == [[2, 3], [6, 7]])
    queue.commit(second)
    #expect(queue.cancel(request: 1).items == [4] && queue.cancel(request: 2).items == [8] && queue.isEmpty)
  }

  @Test func cancelTakesTheRowsOfOneRequestOnly() throws {
    var queue = RequestQueue(limitRows: 100)
    try queue.append(
      (0..<12).map { row($0, request: UInt64($0 % 3), task: $0 % 2 == 0 ? "a" : "b", tokens: 2) })
    let gone = [1, 1, 99].map { queue.cancel(request: $0).items }
    #expect(gone == [[1, 4, 7, 10], [], []])
    #expect(queue.count == 8 && queue.tokens == 16)
    #expect(Set(queue.plan(budgetTokens: 100).parts.items) == [0, 2, 3, 5, 6, 8, 9, 11])
  }

  @Test func rowsExpireAtTheirDeadline() throws {
    var queue = RequestQueue(limitRows: 100)
    try queue.append([row(0, request: 1, deadline: 10), row(1, request: 1, deadline: 30)])
    try queue.append([row(2, request: 2, deadline: 20)])
    #expect(queue.nextDeadline == 10)
    let early = [9, 10].map { queue.expire(now: $0).items }
    #expect(early == [[], [0]] && queue.nextDeadline == 20)
    let late = queue.expire(now: 100).items
    #expect(late == [2, 1] && queue.isEmpty && queue.nextDeadline == nil)
  }

  @Test func principalsShareTokensWhateverTheirTasksAndRowSizes() throws {
    var queue = RequestQueue(limitRows: 10_000)
    // One principal floods ten tasks with large rows, the other has one task of small rows.
    try queue.append((0..<400).map { row($0, task: "t\($0 % 10)", principal: "loud", tokens: 16) })
    try queue.append((0..<800).map { row($0, task: "x", principal: "quiet", tokens: 4) })
    var served = ["loud": 0, "quiet": 0]
    for _ in 0..<20 {
      let plan = queue.plan(budgetTokens: 128)
      queue.commit(plan)
      for part in plan.parts { served[part.principal, default: 0] += part.tokens }
    }
    let difference = abs((served["loud"] ?? 0) - (served["quiet"] ?? 0))
    #expect(difference <= 16, "served \(served)")
  }

  @Test func bulkGetsItsPartAndNoMore() throws {
    var queue = RequestQueue(limitRows: 10_000)
    try queue.append((0..<900).map { row($0, rowClass: .interactive) })
    try queue.append((0..<900).map { row($0, rowClass: .bulk) })
    let parts = queue.plan(budgetTokens: 900).parts
    #expect(parts.count { $0.rowClass == .bulk } == 100)
  }

  @Test func aStalePlanIsRefused() async {
    await #expect(processExitsWith: .failure) {
      var queue = RequestQueue(limitRows: 10)
      try queue.append([row(0)])
      let plan = queue.plan(budgetTokens: 10)
      try queue.append([row(1)])
      queue.commit(plan)
    }
  }
}
