import Models
import Testing

@testable import Serving

/// What `--deterministic` checks when a node opens.
@Suite(.serialized) struct DeterminismTests {
  @Test func whatDependsOnItsNeighboursIsFound() async {
    let rows = [1, 2, 3]
    #expect(await Node.isIndependent(rows) { rows in rows.map { $0 * 2 } })
    #expect(await !Node.isIndependent(rows) { rows in rows.map { $0 * rows.count } })
    #expect(await !Node.isIndependent(rows) { rows in rows.map { $0 == 3 && rows.count > 1 ? 0 : $0 } })
    #expect(await !Node.isIndependent(rows) { _ in [Int]() })
    // Not a number is no answer that could be the same.
    #expect(await !Node.isIndependent(rows) { rows in rows.map { _ in Float.nan } })
  }

  @Test(arguments: WeightFormat.allCases) func aDecoderOpensAfterTheCheck(_ weights: WeightFormat)
    async throws
  {
    try await DecoderNodeTests.withDecoder(weights: weights, adjust: { $0.checksDeterminism = true }) {
      node in
      // Five texts of four tokens, together and alone.
      let figures = try #require(await node.metrics().writing)
      #expect(figures.writtenTokens == 40 && figures.running == 0)
    }
    try await DecoderNodeTests.withDecoder(weights: weights) { node in
      #expect(await node.metrics().writing?.writtenTokens == 0)
    }
  }

  @Test(arguments: WeightFormat.allCases) func anEncoderOpensAfterTheCheck(_ weights: WeightFormat)
    async throws
  {
    try await withNode(
      store: nil,
      {
        $0.checksDeterminism = true
        $0.weights = weights.rawValue
      }
    ) { node in
      #expect(await node.readiness().isReady)
    }
  }
}
