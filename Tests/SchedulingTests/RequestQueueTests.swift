import Testing

@testable import Scheduling

/// A row of `tokens` for a task; the item is its number.
func row(
  _ item: Int, request: UInt64 = 0, task: String = "a", subspace: String = "s", principal: String = "p",
  rowClass: RowClass = .interactive, tokens: Int = 1, deadline: Int64 = .max
) -> QueuedRow<Int> {
  QueuedRow(
    request: request, subspace: subspace, task: task, principal: principal, rowClass: rowClass,
    tokens: tokens, arrived: 0, deadline: deadline, item: item)
}

@Suite struct RequestQueueTests {
  @Test func aRequestIsAdmittedWholeOrNotAtAll() throws {
    var queue = RequestQueue<Int>(limitRows: 3, limitBulkRows: 1)
    try queue.append([row(0), row(1)])
    #expect(throws: RequestQueue<Int>.Full(depth: 2, limit: 3)) { try queue.append([row(2), row(3)]) }
    #expect(queue.count == 2)
    try queue.append([row(2), row(4, rowClass: .bulk)])
    #expect(throws: RequestQueue<Int>.Full(depth: 3, limit: 3)) { try queue.check(rows: 1) }
    #expect(throws: RequestQueue<Int>.Full(depth: 1, limit: 1)) { try queue.check(rows: 1, of: .bulk) }
    #expect(throws: RequestQueue<Int>.Full(depth: 3, limit: 3)) { try queue.check(rows: .max) }
  }

  @Test func aPlanIsAFunctionAndCommitDoesWhatItSaid() throws {
    var queue = RequestQueue<Int>(limitRows: 100)
    try queue.append((0..<20).map { row($0, task: ["a", "b", "c"][$0 % 3], tokens: 1 + $0 % 4) })
    var left = Set(0..<20)
    while !queue.isEmpty {
      let plan = queue.plan(budgetTokens: 7)
      let again = queue.plan(budgetTokens: 7)
      #expect(plan.rows.map(\.item) == again.rows.map(\.item))
      let before = queue.count
      queue.commit(plan)
      #expect(queue.count == before - plan.rows.count)
      #expect(plan.tokens == plan.rows.reduce(0) { $0 + $1.tokens } && plan.tokens <= 7)
      for row in plan.rows { #expect(left.remove(row.item) != nil) }
    }
    #expect(left.isEmpty && queue.tokens == 0 && queue.plan(budgetTokens: 7).rows.isEmpty)
  }

  @Test func rowsStandInGroupsOfSubspaceAndTask() throws {
    var queue = RequestQueue<Int>(limitRows: 100)
    let shape = [("s2", "a"), ("s1", "b"), ("s1", "a"), ("s2", "a"), ("s1", "b")]
    try queue.append(shape.enumerated().map { row($0, task: $1.1, subspace: $1.0) })
    let plan = queue.plan(budgetTokens: 100)
    #expect(plan.rows.map(\.item) == [2, 1, 4, 0, 3])
    #expect(
      plan.groups == [
        .init(subspace: "s1", task: "a", rows: 0..<1), .init(subspace: "s1", task: "b", rows: 1..<3),
        .init(subspace: "s2", task: "a", rows: 3..<5),
      ])
    #expect(RequestQueue<Int>(limitRows: 1).plan(budgetTokens: 1).groups.isEmpty)
  }

  @Test func budgetsOfTokensAndRowsHold() throws {
    var queue = RequestQueue<Int>(limitRows: 100)
    try queue.append((0..<10).map { row($0, tokens: 10) })
    #expect(queue.plan(budgetTokens: 35).rows.count == 3)
    #expect(queue.plan(budgetTokens: 1_000, budgetRows: 4).rows.count == 4)
  }

  @Test func aRowLargerThanTheBudgetGoesAloneAndFirst() throws {
    var queue = RequestQueue<Int>(limitRows: 100)
    try queue.append([
      row(0, task: "a", tokens: 3), row(1, task: "b", tokens: 50), row(2, task: "c", tokens: 3),
    ])
    let first = queue.plan(budgetTokens: 10)
    // The large row did not fit behind the first; a smaller one of another task took the room.
    #expect(first.rows.map(\.item) == [0, 2])
    queue.commit(first)
    try queue.append([row(3, task: "a", tokens: 3)])
    let second = queue.plan(budgetTokens: 10)
    #expect(second.rows.map(\.item) == [1])
  }

  @Test func cancelTakesTheRowsOfOneRequestOnly() throws {
    var queue = RequestQueue<Int>(limitRows: 100)
    try queue.append(
      (0..<12).map { row($0, request: UInt64($0 % 3), task: $0 % 2 == 0 ? "a" : "b", tokens: 2) })
    let gone = [1, 1, 99].map { queue.cancel(request: $0).map(\.item) }
    #expect(gone == [[1, 4, 7, 10], [], []])
    #expect(queue.count == 8 && queue.tokens == 16)
    #expect(Set(queue.plan(budgetTokens: 100).rows.map(\.item)) == [0, 2, 3, 5, 6, 8, 9, 11])
  }

  @Test func rowsExpireAtTheirDeadline() throws {
    var queue = RequestQueue<Int>(limitRows: 100)
    try queue.append([row(0, request: 1, deadline: 10), row(1, request: 1, deadline: 30)])
    try queue.append([row(2, request: 2, deadline: 20)])
    #expect(queue.nextDeadline == 10)
    let early = [9, 10].map { queue.expire(now: $0).map(\.item) }
    #expect(early == [[], [0]] && queue.nextDeadline == 20)
    let late = queue.expire(now: 100).map(\.item)
    #expect(late == [2, 1] && queue.isEmpty && queue.nextDeadline == nil)
  }

  @Test func principalsShareTokensWhateverTheirTasksAndRowSizes() throws {
    var queue = RequestQueue<Int>(limitRows: 10_000)
    // One principal floods ten tasks with large rows, the other has one task of small rows.
    try queue.append((0..<400).map { row($0, task: "t\($0 % 10)", principal: "loud", tokens: 16) })
    try queue.append((0..<800).map { row($0, task: "x", principal: "quiet", tokens: 4) })
    var served = ["loud": 0, "quiet": 0]
    for _ in 0..<20 {
      let plan = queue.plan(budgetTokens: 128)
      queue.commit(plan)
      for row in plan.rows { served[row.principal, default: 0] += row.tokens }
    }
    let difference = abs((served["loud"] ?? 0) - (served["quiet"] ?? 0))
    #expect(difference <= 16, "served \(served)")
  }

  @Test func bulkGetsItsPartAndNoMore() throws {
    var queue = RequestQueue<Int>(limitRows: 10_000)
    try queue.append((0..<900).map { row($0, rowClass: .interactive) })
    try queue.append((0..<900).map { row($0, rowClass: .bulk) })
    let rows = queue.plan(budgetTokens: 900).rows
    #expect(rows.count { $0.rowClass == .bulk } == 100)
  }

  @Test func aStalePlanIsRefused() async {
    await #expect(processExitsWith: .failure) {
      var queue = RequestQueue<Int>(limitRows: 10)
      try queue.append([row(0)])
      let plan = queue.plan(budgetTokens: 10)
      try queue.append([row(1)])
      queue.commit(plan)
    }
  }
}
