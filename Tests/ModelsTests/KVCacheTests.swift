import Foundation
import Models
import Tensors
import Testing

/// Every way through the cache gives the bits of the plain path.
@Suite struct KVCacheTests {
  /// Hidden states of tokens that are fed in pieces.
  private func feed(
    _ fixture: DecoderFixture, _ sequence: KVSequence, _ tokens: [Int32], pieces: [Int],
    patch: (any ProjectionPatch)? = nil
  ) throws -> [Float] {
    let arena = Arena()
    var (rest, result) = (tokens[...], [Float]())
    var index = 0
    while !rest.isEmpty {
      let piece = Array(rest.prefix(pieces[index % pieces.count]))
      rest = rest.dropFirst(piece.count)
      index += 1
      try #require(sequence.reserve(piece.count))
      arena.scope {
        let input = DecoderInput(sequence: sequence, tokens: piece)
        result += Matrix(fixture.decoder.forward([input], patch: patch, arena: arena)).values
      }
    }
    return result
  }

  private func plain(
    _ fixture: DecoderFixture, _ tokens: [Int32], patch: (any ProjectionPatch)? = nil
  ) -> [Float] {
    let arena = Arena()
    return arena.scope {
      Matrix(fixture.decoder.forward(PackedBatch(sequences: [tokens]), patch: patch, arena: arena)).values
    }
  }

  @Test(arguments: DecoderFixture.labels) func `a prompt in pieces is the whole prompt`(_ label: String)
    throws
  {
    for element in PackedElement.allCases {
      let fixture = try DecoderFixture(label, as: element)
      let tokens = fixture.sequence(3)
      let expected = plain(fixture, tokens)
      for pageTokens in [16, 32, 80] {
        let cache = fixture.cache(pageTokens: pageTokens)
        for pieces in [[tokens.count], [1], [7], [16], [33, 1, 1, 20]] {
          let sequence = cache.makeSequence()
          #expect(try feed(fixture, sequence, tokens, pieces: pieces) == expected, "\(pageTokens), \(pieces)")
          #expect(sequence.count == tokens.count)
          #expect(sequence.pageCount == (tokens.count + pageTokens - 1) / pageTokens)
        }
        #expect(cache.usedPages == 0)
      }
    }
  }

  @Test(arguments: DecoderFixture.labels) func `neighbours and adapters do not change a sequence`(
    _ label: String
  ) throws {
    let fixture = try DecoderFixture(label)
    let patch = FactorPatch(
      fixture.decoder.sites, adapted: Set(fixture.decoder.sites.indices), rank: 3)
    let all = (0..<fixture.batch.count).map(fixture.sequence)
    let expected = all.map { plain(fixture, $0, patch: patch) }
    let arena = Arena()
    let packed = arena.scope {
      Matrix(fixture.decoder.forward(fixture.batch, patch: patch, arena: arena)).values
    }
    #expect(packed == expected.flatMap { $0 })

    // Sequence i takes i + 2 tokens a step, so all stand at different places, and short ones leave early.
    let cache = fixture.cache()
    var live = all.indices.map { (index: $0, sequence: cache.makeSequence(), rest: all[$0][...]) }
    var results = all.map { _ in [Float]() }
    let width = fixture.decoder.configuration.hiddenSize
    while !live.isEmpty {
      let pieces = live.map { Array($0.rest.prefix($0.index + 2)) }
      for (row, piece) in zip(live, pieces) { try #require(row.sequence.reserve(piece.count)) }
      let hidden = arena.scope {
        Matrix(
          fixture.decoder.forward(
            zip(live, pieces).map { DecoderInput(sequence: $0.sequence, tokens: $1) }, patch: patch,
            arena: arena)
        ).values
      }
      var next = 0
      for (row, piece) in zip(live.indices, pieces) {
        results[live[row].index] += hidden[next * width..<(next + piece.count) * width]
        next += piece.count
        live[row].rest = live[row].rest.dropFirst(piece.count)
      }
      live.removeAll { $0.rest.isEmpty }
    }
    #expect(results == expected)
    #expect(cache.usedPages == 0)
  }

  @Test(arguments: DecoderFixture.labels) func `sequences that share a prefix are as if they did not`(
    _ label: String
  ) throws {
    let fixture = try DecoderFixture(label)
    let tokens = fixture.sequence(3)
    let other = tokens[..<37] + fixture.sequence(2)
    let width = fixture.decoder.configuration.hiddenSize
    let cache = fixture.cache(pageTokens: 16)
    let first = cache.makeSequence()
    _ = try feed(fixture, first, Array(tokens[..<40]), pieces: [40])
    let (used, branch) = (cache.usedPages, first.fork(prefix: 37))
    let whole = first.fork(prefix: 32)
    #expect(cache.usedPages == used && branch.count == 37 && branch.pageCount == 3 && whole.pageCount == 2)
    // Both go on where the third page was shared; the one that comes first copies it.
    let fromBranch = try feed(fixture, branch, Array(other[37...]), pieces: [5])
    let fromFirst = try feed(fixture, first, Array(tokens[40...]), pieces: [1])
    let fromWhole = try feed(fixture, whole, Array(tokens[32...]), pieces: [9])
    #expect(fromBranch == Array(plain(fixture, Array(other))[(37 * width)...]))
    #expect(fromFirst == Array(plain(fixture, tokens)[(40 * width)...]))
    #expect(fromWhole == Array(plain(fixture, tokens)[(32 * width)...]))
  }

  @Test func `a page outlives its sequence and begins others with the same bits`() throws {
    let fixture = try DecoderFixture("qwen3")
    let tokens = fixture.sequence(3)
    let width = fixture.decoder.configuration.hiddenSize
    let cache = fixture.cache(pageTokens: 16)
    var pages: [KVPage] = []
    do {
      let first = cache.makeSequence()
      _ = try feed(fixture, first, Array(tokens[..<40]), pieces: [40])
      pages = (0..<2).map { first.page($0) }
      #expect(pages.allSatisfy { $0.isShared } && cache.usedPages == 3)
    }
    #expect(!pages.contains { $0.isShared } && cache.usedPages == 2)
    do {
      let next = cache.makeSequence(pages)
      #expect(next.count == 32 && next.pageCount == 2 && pages.allSatisfy { $0.isShared })
      let states = try feed(fixture, next, Array(tokens[32...]), pieces: [7])
      #expect(states == Array(plain(fixture, tokens)[(32 * width)...]))
    }
    #expect(cache.usedPages == 2)
    pages = []
    #expect(cache.usedPages == 0 && cache.makeSequence([]).count == 0)
  }

  @Test func `the limit refuses a reservation and changes nothing`() throws {
    let fixture = try DecoderFixture("smollm2")
    let probe = fixture.cache(pageTokens: 16)
    let cache = KVCache(
      fixture.decoder.configuration, element: fixture.decoder.element.keyValues,
      limitBytes: 3 * probe.pageBytes + 1, pageTokens: 16)
    #expect(cache.limitPages == 3 && cache.freePages == 3 && cache.residentBytes == 0)
    let long = cache.makeSequence()
    #expect(!long.reserve(49) && cache.usedPages == 0)
    #expect(long.reserve(48) && cache.usedPages == 3 && cache.freePages == 0)
    _ = try feed(fixture, long, Array(fixture.sequence(3)[..<20]), pieces: [20])
    // A shared page that must be copied counts too.
    let branch = long.fork(prefix: 20)
    #expect(branch.reserve(0) && !branch.reserve(1) && branch.count == 20 && branch.pageCount == 2)
    #expect(cache.usedPages == 3 && cache.residentBytes == 3 * cache.pageBytes)
  }

  @Test func `pages go back when the last sequence that holds them does`() throws {
    let fixture = try DecoderFixture("smollm2")
    let cache = fixture.cache(pageTokens: 16)
    var first: KVSequence? = cache.makeSequence()
    _ = try feed(fixture, try #require(first), fixture.sequence(2), pieces: [33])
    #expect(cache.usedPages == 3)
    var second = first?.fork(prefix: 17)
    first = nil
    #expect(cache.usedPages == 2)
    second = nil
    #expect(second == nil && cache.usedPages == 0)
    // What was given back is used again.
    let resident = cache.residentBytes
    let third = cache.makeSequence()
    #expect(third.reserve(48) && cache.residentBytes == resident)
  }

  @Test func `scratch of a pass is bounded by one layer's and given back`() throws {
    let fixture = try DecoderFixture("smollm2")
    let arena = Arena()
    let first = logits(fixture.decoder, fixture.batch, arena: arena)
    let peak = arena.peakBytes
    #expect(arena.usedBytes == 0)
    #expect(logits(fixture.decoder, fixture.batch, arena: arena) == first)
    #expect(arena.peakBytes == peak)
  }

  @Test func `tokens without room, twice the same sequence and too many tokens end the process`() async {
    await #expect(processExitsWith: .failure) {
      let fixture = try DecoderFixture("smollm2")
      let sequence = fixture.cache().makeSequence()
      let arena = Arena()
      _ = fixture.decoder.forward([DecoderInput(sequence: sequence, tokens: [1])], patch: nil, arena: arena)
    }
    await #expect(processExitsWith: .failure) {
      let fixture = try DecoderFixture("smollm2")
      let sequence = fixture.cache().makeSequence()
      _ = sequence.reserve(2)
      let arena = Arena()
      let input = DecoderInput(sequence: sequence, tokens: [1])
      _ = fixture.decoder.forward([input, input], patch: nil, arena: arena)
    }
    await #expect(processExitsWith: .failure) {
      let fixture = try DecoderFixture("smollm2")
      _ = logits(fixture.decoder, PackedBatch(sequences: [[Int32](repeating: 1, count: 161)]))
    }
    await #expect(processExitsWith: .failure) {
      let fixture = try DecoderFixture("smollm2")
      _ = logits(fixture.decoder, PackedBatch(sequences: [[251]]))
    }
  }
}
