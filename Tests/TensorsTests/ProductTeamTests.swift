import Dispatch
import Synchronization
import Tensors
import Testing

@Suite struct ProductTeamTests {
  /// Runs `body` while so many threads help; they have come before it begins.
  private func helped(_ helpers: Int, _ body: (ProductTeam) -> Void) {
    let team = ProductTeam(helpers: helpers)
    let (group, come) = (DispatchGroup(), DispatchSemaphore(value: 0))
    for _ in 0..<helpers {
      DispatchQueue.global().async(group: group) {
        come.signal()
        team.help { false }
      }
    }
    for _ in 0..<helpers { come.wait() }
    body(team)
    team.close()
    group.wait()
  }

  @Test(arguments: [0, 1, 2]) func `every piece is done once before the work is over`(_ helpers: Int) {
    helped(helpers) { team in
      for round in 0..<3_000 {
        let pieces = round % 19
        let done = (0..<pieces).map { _ in Counter() }
        team.share(pieces) { piece, worker in
          if worker <= helpers { done[piece].add() }
        }
        #expect(done.allSatisfy { $0.value == 1 })
      }
    }
  }

  @Test func `a helper leaves when it is told to, and the work goes on without it`() {
    let team = ProductTeam(helpers: 1)
    team.help { true }
    let done = (0..<5).map { _ in Counter() }
    team.share(5) { piece, _ in done[piece].add() }
    #expect(done.allSatisfy { $0.value == 1 })
  }

  @Test func `two threads are at work at once`() {
    let together = Counter()
    helped(1) { team in
      for _ in 0..<1_000 where together.value == 0 {
        let here = Counter()
        team.share(2) { _, _ in
          here.add()
          for _ in 0..<100_000 where here.value < 2 {}
          // Of one thread's two pieces only the second finds both.
          if here.value == 2 { together.add() }
        }
        if together.value == 1 { together.add(-1) }
      }
    }
    #expect(together.value == 2)
  }

  @Test(arguments: PackedElement.allCases)
  func `shared products have the same bits`(_ element: PackedElement) {
    var random = RandomSource(seed: 41)
    for (outputs, inputs) in [(1, 1), (15, 700), (192, 576), (576, 64), (1000, 33)] {
      let weights = PackedWeights(Matrix(randomly: outputs, inputs, &random), as: element)
      let columns = PackedWeights(Matrix(randomly: outputs, 8, &random))
      let bias = Field(1, outputs, random: &random)
      for rows in [1, 5, 96, 130] {
        let (x, z) = (Field(rows, inputs, random: &random), Field(rows, 8, random: &random))
        let alone = Field(rows, outputs) { _, _ in 0.25 }
        weights.multiply(
          x.view, bias: bias.view.base, extra: (z.view, columns), accumulate: true, into: alone.view)
        helped(1) { team in
          let shared = Field(rows, outputs) { _, _ in 0.25 }
          weights.multiply(
            x.view, bias: bias.view.base, extra: (z.view, columns), accumulate: true, team: team,
            into: shared.view)
          #expect(shared.bits == alone.bits && shared.isGuarded, "\(outputs) x \(inputs), \(rows) rows")
        }
      }
    }
  }
}

private final class Counter: Sendable {
  private let count = Atomic(0)
  var value: Int { count.load(ordering: .sequentiallyConsistent) }

  @discardableResult func add(_ more: Int = 1) -> Int {
    count.wrappingAdd(more, ordering: .sequentiallyConsistent).newValue
  }
}
