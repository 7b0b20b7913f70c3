import Synchronization
import Testing

@testable import Engine

@Suite struct ComputeLanesTests {
  /// Inference that asks for its next piece before its lane looks for work, as a shard with streams does.
  @Test(.timeLimit(.minutes(1)), arguments: [1, 2])
  func `training has its turn while inference never ends`(_ count: Int) async throws {
    try await withLanes(count) { lanes in
      let streams = Streams(lanes)
      for _ in 0..<count { streams.go() }
      for _ in 0..<3 {
        let before = streams.steps.load(ordering: .relaxed)
        await lanes.run(.training) { _ in }
        let waited = streams.steps.load(ordering: .relaxed) - before
        #expect(waited >= ComputeLanes.trainingPatience / 2, "it goes behind \(waited) steps")
      }
      streams.isOver.store(true, ordering: .relaxed)
      await lanes.run(.inference) { _ in }
    }
  }

  private final class Streams: Sendable {
    let lanes: ComputeLanes
    let steps = Atomic(0)
    let isOver = Atomic(false)

    init(_ lanes: ComputeLanes) { self.lanes = lanes }

    func go() {
      lanes.map(.inference, [self]) { streams, _ in
        streams.steps.add(1, ordering: .relaxed)
      } done: { _ in
        if !self.isOver.load(ordering: .relaxed) { self.go() }
      }
    }
  }
}
