import Tensors
import Testing

@Suite struct RandomSourceTests {
  @Test func startsWithTheRecordedValues() {
    var source = RandomSource(seed: 42)
    let first: [UInt64] = [0x15780b2e0c2ec716, 0x6104d9866d113a7e, 0xae17533239e499a1]
    #expect((0..<3).map { _ in source.next() } == first)
  }

  @Test func continuesFromASavedState() {
    var source = RandomSource(seed: 1, stream: 2)
    for _ in 0..<10 { _ = source.normal() }
    var restored = RandomSource(seed: 0)
    restored.state = source.state
    #expect((0..<20).map { _ in source.normal() } == (0..<20).map { _ in restored.normal() })
  }

  @Test func streamsDiffer() {
    var sources = (0..<4).map { RandomSource(seed: 7, stream: UInt64($0)) }
    #expect(Set(sources.indices.map { sources[$0].next() }).count == 4)
  }

  @Test func hasTheMomentsOfItsDistributions() {
    var source = RandomSource(seed: 3)
    let count = 100_000
    let uniform = (0..<count).map { _ in Double(source.uniform()) }
    let normal = (0..<count).map { _ in Double(source.normal()) }
    #expect(uniform.allSatisfy { (0..<1).contains($0) })
    // Six standard errors.
    let error = 6 / Double(count).squareRoot()
    #expect(abs(uniform.reduce(0, +) / Double(count) - 0.5) < error * 0.289)
    #expect(abs(normal.reduce(0, +) / Double(count)) < error)
    #expect(abs(normal.reduce(0) { $0 + $1 * $1 } / Double(count) - 1) < error * 1.415)
  }

  @Test func shufflesEveryOrderAlike() {
    var source = RandomSource(seed: 5)
    var seen: [[Int]: Int] = [:]
    for _ in 0..<6000 { seen[source.permutation(3), default: 0] += 1 }
    #expect(seen.count == 6)
    #expect(seen.values.allSatisfy { abs($0 - 1000) < 6 * 29 })
    #expect(source.permutation(0).isEmpty && source.permutation(1) == [0])
  }
}
