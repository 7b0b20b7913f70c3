import Models
import Tensors
import Testing

@testable import Engine

@Suite struct PrefixStoreTests {
  private static let scope = PrefixStore.Scope(version: "v", principal: "p")

  /// A cache, and texts in it with `pages` whole pages each.
  private struct Texts {
    let cache: KVCache
    let fixture: EngineFixture
    private let arena = Arena()

    init() throws {
      fixture = try EngineFixture.shared()
      cache = KVCache(
        fixture.decoder.configuration, element: fixture.decoder.element.keyValues,
        limitBytes: fixture.bytes(pages: 40), pageTokens: 16)
    }

    func compute(_ tokens: [Int32]) throws -> KVSequence {
      let sequence = cache.makeSequence()
      try #require(sequence.reserve(tokens.count))
      arena.scope {
        _ = fixture.decoder.forward(
          [DecoderInput(sequence: sequence, tokens: tokens)], patch: nil, arena: arena)
      }
      return sequence
    }

    /// Stores all whole pages; the numbers of those that were kept.
    func keep(
      _ tokens: [Int32], in store: PrefixStore, scope: PrefixStore.Scope = PrefixStoreTests.scope
    ) throws -> [Int] {
      let sequence = try compute(tokens)
      var chain: [Int] = []
      for index in 0..<tokens.count / 16 {
        guard
          let number = store.insert(
            tokens[index * 16..<(index + 1) * 16], after: chain, scope: scope,
            page: { sequence.page(index) })
        else { break }
        chain.append(number)
      }
      return chain
    }
  }

  @Test func `the longest stored beginning is found, in its scope alone`() throws {
    let texts = try Texts()
    let store = PrefixStore(limitPages: 20, pageTokens: 16)
    let tokens = texts.fixture.prompt(70, seed: 1)
    let chain = try texts.keep(tokens, in: store)
    #expect(chain.count == 4 && store.pages == 4 && texts.cache.usedPages == 4 && store.evictablePages == 4)
    func found(_ tokens: [Int32], _ limit: Int, _ scope: PrefixStore.Scope = Self.scope) -> [Int] {
      store.find(tokens, limitTokens: limit, scope: scope).map(\.number)
    }
    #expect(found(tokens, 69) == chain)
    #expect(found(tokens, 63) == Array(chain.prefix(3)))
    #expect(found(tokens, 15).isEmpty)
    var other = tokens
    other[40] = (other[40] + 1) % 7
    #expect(found(other, 69) == Array(chain.prefix(2)))
    #expect(found(tokens, 69, .init(version: "w", principal: "p")).isEmpty)
    #expect(found(tokens, 69, .init(version: "v", principal: "q")).isEmpty)
    // Kept again, another text's branch shares the beginning.
    #expect(try texts.keep(tokens, in: store) == chain)
    #expect(try texts.keep(other, in: store).prefix(2) == chain.prefix(2))
    #expect(store.pages == 6 && texts.cache.usedPages == 6)
  }

  @Test func `the least recently used page goes first and a text from its end`() throws {
    let texts = try Texts()
    let store = PrefixStore(limitPages: 6, pageTokens: 16)
    let prompts = (0..<3).map { texts.fixture.prompt(32, seed: UInt64($0)) }
    func count(_ index: Int) -> Int {
      store.find(prompts[index], limitTokens: 32, scope: Self.scope).count
    }
    for prompt in prompts { _ = try texts.keep(prompt, in: store) }
    #expect((0..<3).map(count) == [2, 2, 2])
    store.touch(store.find(prompts[0], limitTokens: 32, scope: Self.scope).map(\.number))
    _ = try texts.keep(texts.fixture.prompt(20, seed: 9), in: store)
    #expect((0..<3).map(count) == [2, 1, 2] && store.pages == 6)
    #expect(store.evict() && count(1) == 0)
    #expect(store.evict() && count(2) == 1)
    // What a sequence holds stays.
    let held = texts.cache.makeSequence(
      store.find(prompts[0], limitTokens: 32, scope: Self.scope).map(\.page))
    #expect(held.count == 32 && store.evictablePages == store.pages - 2)
    while store.evict() {}
    #expect(store.pages == 2 && texts.cache.usedPages == 2 && count(0) == 2)
  }

  @Test func `a text longer than the store keeps its beginning, and a store of nothing keeps nothing`() throws
  {
    let texts = try Texts()
    let store = PrefixStore(limitPages: 3, pageTokens: 16)
    _ = try texts.keep(texts.fixture.prompt(40, seed: 2), in: store)
    let tokens = texts.fixture.prompt(100, seed: 1)
    let chain = try texts.keep(tokens, in: store)
    #expect(chain.count == 3 && store.pages == 3)
    #expect(store.find(tokens, limitTokens: 100, scope: Self.scope).map(\.number) == chain)
    let nothing = PrefixStore(limitPages: 0, pageTokens: 16)
    #expect(try texts.keep(tokens, in: nothing).isEmpty && nothing.pages == 0)
    #expect(texts.cache.usedPages == 3)
  }
}
