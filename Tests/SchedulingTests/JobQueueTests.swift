import Testing

@testable import Scheduling

@Suite struct JobQueueTests {
  @Test func oneRunsAtATimeInOrder() {
    var queue = JobQueue<Int>()
    for id in 1...3 { queue.add(id, principal: "p") }
    queue.add(1, principal: "p")
    #expect(queue.count == 3 && queue.next == 1)
    let started = [queue.start(1), queue.start(2)]
    #expect(started == [true, false] && queue.running == 1 && queue.next == nil)
    let finished = [queue.finish(2), queue.finish(1)]
    #expect(finished == [false, true] && queue.next == 2)
  }

  @Test func principalsTakeTurns() {
    var queue = JobQueue<String>()
    for id in ["a1", "a2", "a3"] { queue.add(id, principal: "a") }
    for id in ["b1", "b2"] { queue.add(id, principal: "b") }
    queue.add("c1", principal: "c")
    var order: [String] = []
    while let id = queue.next {
      let ran = [queue.start(id), queue.finish(id)]
      #expect(ran == [true, true])
      order.append(id)
    }
    #expect(order == ["a1", "b1", "c1", "a2", "b2", "a3"])
  }

  @Test func aPausedJobIsPassedOverAndKeepsItsPlace() {
    var queue = JobQueue<Int>()
    queue.add(1, principal: "p", isPaused: true)
    queue.add(2, principal: "p")
    let startedPaused = queue.start(1)
    #expect(queue.next == 2 && !startedPaused)
    let resumed = [queue.setPaused(false, 1), queue.setPaused(true, 9)]
    #expect(resumed == [true, false] && queue.next == 1)
    let removed = [queue.remove(1), queue.remove(1)]
    #expect(removed == [true, false] && queue.next == 2)
  }

  @Test func theWaitIsThatOfTheMeasuredRate() {
    var rate = DrainRate()
    #expect(rate.secondsUntilDrained(rows: 1_000) == 1)
    rate.record(rows: 100, seconds: 1)
    #expect(rate.secondsUntilDrained(rows: 250) == 3)
    #expect(rate.secondsUntilDrained(rows: 0) == 1 && rate.secondsUntilDrained(rows: .max) == 60)
    rate.record(rows: 0, seconds: 1)
    rate.record(rows: 10, seconds: 0)
    #expect(rate.secondsUntilDrained(rows: 250) == 3)
    for _ in 0..<60 { rate.record(rows: 10, seconds: 1) }
    #expect(rate.secondsUntilDrained(rows: 100) == 10 || rate.secondsUntilDrained(rows: 100) == 11)
  }
}
