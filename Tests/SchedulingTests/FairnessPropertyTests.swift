import Testing

@testable import Scheduling

/// SplitMix64: the test's own source, so that a printed seed is enough to repeat it.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

@Suite struct FairnessPropertyTests {
  /// A flood keeps the queue full; a rare row of another task must run within the batches that the rows ahead of it in
  /// a fair order can fill: one row per waiting lane.
  @Test(arguments: UInt64(1)...20) func aRareTaskIsNotStarved(seed: UInt64) throws {
    var generator = SeededGenerator(state: seed)
    let limit = 200
    let budget = 64
    var queue = RequestQueue(limitRows: limit)
    var waitingSince: [Int: Int] = [:]
    var item = 0
    let lanes = 8
    for batch in 0..<100 {
      while queue.count < limit - 1 {
        try queue.append([
          row(item, task: "flood\(item % lanes)", tokens: Int.random(in: 1...budget, using: &generator))
        ])
        item += 1
      }
      if waitingSince.isEmpty, Int.random(in: 0..<5, using: &generator) == 0 {
        try queue.append([
          row(-1 - batch, task: "rare", tokens: Int.random(in: 1...(2 * budget), using: &generator))
        ])
        waitingSince[-1 - batch] = batch
      }
      let plan = queue.plan(budgetTokens: budget)
      #expect(plan.tokens <= budget || plan.count == 1, "seed \(seed)")
      queue.commit(plan)
      for item in plan.parts.items { waitingSince[item] = nil }
      for since in waitingSince.values {
        #expect(batch - since <= lanes + 1, "seed \(seed): waits since batch \(since), now \(batch)")
      }
    }
  }

  /// The queue against a plain list: nothing lost, nothing twice, counts right, order within a lane kept.
  @Test(arguments: UInt64(1)...40) func randomCallsLoseNothing(seed: UInt64) throws {
    var generator = SeededGenerator(state: seed)
    var queue = RequestQueue(limitRows: 60, limitBulkRows: 30)
    var model: [QueuedRows] = []
    var item = 0
    for step in 0..<400 {
      switch Int.random(in: 0..<10, using: &generator) {
      case 0..<5:
        let rows = (0..<Int.random(in: 1...6, using: &generator)).map { offset in
          row(
            item + offset, request: UInt64(step), task: "t\(Int.random(in: 0..<5, using: &generator))",
            subspace: "s\(Int.random(in: 0..<2, using: &generator))",
            principal: "p\(Int.random(in: 0..<3, using: &generator))",
            rowClass: Bool.random(using: &generator) ? .bulk : .interactive,
            tokens: Int.random(in: 0...20, using: &generator),
            deadline: Int64(step + Int.random(in: 1...40, using: &generator)))
        }
        item += rows.count
        if (try? queue.append(rows)) != nil { model += rows }
      case 5..<8:
        let budget = Int.random(in: 1...60, using: &generator)
        let plan = queue.plan(budgetTokens: budget, budgetRows: Int.random(in: 1...20, using: &generator))
        queue.commit(plan)
        #expect(model.isEmpty == plan.parts.isEmpty, "seed \(seed) step \(step)")
        #expect(plan.tokens <= budget || plan.count == 1, "seed \(seed) step \(step)")
        for lane in Dictionary(
          grouping: plan.parts, by: { "\($0.subspace) \($0.task) \($0.principal) \($0.rowClass)" }
        ).values {
          #expect(lane.items == lane.items.sorted(), "seed \(seed) step \(step)")
        }
        let gone = Set(plan.parts.items)
        #expect(gone.count == plan.count, "seed \(seed) step \(step)")
        model.removeAll { gone.contains($0.rows[0].place) }
      case 8:
        let request = UInt64(Int.random(in: 0...step, using: &generator))
        let gone = queue.cancel(request: request).items
        #expect(gone == model.filter { $0.request == request }.items, "seed \(seed) step \(step)")
        model.removeAll { $0.request == request }
      default:
        let gone = Set(queue.expire(now: Int64(step)).items)
        #expect(gone == Set(model.filter { $0.deadline <= step }.items), "seed \(seed) step \(step)")
        model.removeAll { $0.deadline <= step }
      }
      #expect(
        queue.count == model.count && queue.tokens == model.reduce(0) { $0 + $1.tokens }, "seed \(seed)")
    }
  }
}
