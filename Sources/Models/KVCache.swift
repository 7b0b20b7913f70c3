public import Tensors

/// Memory for the keys and values of one lane's sequences, in pages of a fixed number of tokens. A page holds every
/// layer's; sequences that share a prefix share its pages. One thread at a time.
///
/// Pages that were given back are kept for the next sequence, so `residentBytes` is the most that was ever in use.
public final class KVCache {
  /// Tokens of a page, a multiple of 16.
  public let pageTokens: Int
  /// Pages that may exist at once.
  public let limitPages: Int
  public let element: KeyValueElement
  public let pageBytes: Int
  private var pages: [UnsafeMutableRawPointer] = []
  /// Where pages come from, some to a stretch of memory.
  private var slabs: [LargeMemory] = []
  private static let slabBytes = 32 << 20
  /// By page: the sequences that hold it.
  private var holders: [Int] = []
  private var free: [Int] = []

  /// - Parameters:
  ///   - limitBytes: rounded down to whole pages.
  ///   - pageTokens: a multiple of 16.
  public init(
    _ configuration: DecoderConfiguration, element: KeyValueElement, limitBytes: Int, pageTokens: Int = 32
  ) {
    precondition(pageTokens > 0 && pageTokens % 16 == 0, "a page holds a multiple of 16 tokens")
    self.pageTokens = pageTokens
    self.element = element
    pageBytes = configuration.layers * configuration.pageCount(tokens: pageTokens) * element.bytes
    limitPages = limitBytes / pageBytes
  }

  /// Pages that sequences hold; a shared one counts once.
  public var usedPages: Int { pages.count - free.count }
  public var residentBytes: Int { pages.count * pageBytes }
  /// Pages that can still be taken.
  public var freePages: Int { limitPages - usedPages }

  /// A sequence without tokens.
  public func makeSequence() -> KVSequence { KVSequence(self, pages: [], count: 0) }

  /// A sequence that begins with the tokens of some pages, which it shares: each the keys and values of `pageTokens`
  /// tokens that follow those of the page before.
  public func makeSequence(_ pages: [KVPage]) -> KVSequence {
    precondition(pages.allSatisfy { $0.cache === self }, "pages stay in their cache")
    for page in pages { hold(page.index) }
    return KVSequence(self, pages: pages.map(\.index), count: pages.count * pageTokens)
  }

  /// nil when the limit is reached.
  fileprivate func take() -> Int? {
    if let page = free.popLast() {
      holders[page] = 1
      return page
    }
    guard pages.count < limitPages else { return nil }
    let each = max(1, Self.slabBytes / pageBytes)
    let place = pages.count % each
    if place == 0 { slabs.append(LargeMemory(bytes: min(each, limitPages - pages.count) * pageBytes)) }
    pages.append(slabs[slabs.count - 1].base + place * pageBytes)
    holders.append(1)
    return pages.count - 1
  }

  fileprivate func hold(_ page: Int) { holders[page] += 1 }

  fileprivate func release(_ page: Int) {
    holders[page] -= 1
    if holders[page] == 0 { free.append(page) }
  }

  fileprivate func isShared(_ page: Int) -> Bool { holders[page] > 1 }

  fileprivate func copy(_ from: Int, to: Int) {
    pages[to].copyMemory(from: pages[from], byteCount: pageBytes)
  }

  fileprivate func address(_ page: Int) -> UnsafeMutableRawPointer { pages[page] }
}

/// A whole page of some sequence's tokens, held as long as this object lives, the sequence or not.
public final class KVPage {
  fileprivate let cache: KVCache
  fileprivate let index: Int

  fileprivate init(_ cache: KVCache, _ index: Int) {
    self.cache = cache
    self.index = index
    cache.hold(index)
  }

  deinit { cache.release(index) }

  /// A sequence, or another object, holds the page too.
  public var isShared: Bool { cache.isShared(index) }
}

/// The keys and values of one sequence's tokens. Its pages go back to the cache with it.
public final class KVSequence {
  let cache: KVCache
  /// Tokens whose keys and values are there.
  public private(set) var count: Int
  private var held: [Int]

  fileprivate init(_ cache: KVCache, pages: [Int], count: Int) {
    self.cache = cache
    self.count = count
    held = pages
  }

  deinit { for page in held { cache.release(page) } }

  /// Pages that it holds, shared ones included.
  public var pageCount: Int { held.count }

  /// Makes room for more tokens. A page that another sequence holds too is copied before it is written.
  /// - Returns: false, with nothing changed that can be seen, when the cache's limit is reached.
  public func reserve(_ tokens: Int) -> Bool {
    precondition(tokens >= 0, "a sequence grows")
    guard tokens > 0 else { return true }
    let wanted = (count + tokens + cache.pageTokens - 1) / cache.pageTokens
    let partial = count % cache.pageTokens == 0 ? nil : count / cache.pageTokens
    let copies = partial.map { cache.isShared(held[$0]) } ?? false
    guard max(0, wanted - held.count) + (copies ? 1 : 0) <= cache.freePages else { return false }
    if copies, let partial, let page = cache.take() {
      cache.copy(held[partial], to: page)
      cache.release(held[partial])
      held[partial] = page
    }
    while held.count < wanted, let page = cache.take() { held.append(page) }
    return true
  }

  /// Another sequence that starts with the first `tokens` tokens of this one and shares their pages.
  public func fork(prefix tokens: Int) -> KVSequence {
    precondition(tokens >= 0 && tokens <= count, "a prefix is a part of the sequence")
    let pages = Array(held.prefix((tokens + cache.pageTokens - 1) / cache.pageTokens))
    for page in pages { cache.hold(page) }
    return KVSequence(cache, pages: pages, count: tokens)
  }

  /// One of the pages that are full.
  public func page(_ index: Int) -> KVPage {
    precondition(index >= 0 && (index + 1) * cache.pageTokens <= count, "a page is kept when it is full")
    return KVPage(cache, held[index])
  }

  /// Addresses of the pages that hold its tokens and `tokens` more.
  /// - Precondition: they are reserved, and no other sequence holds what will be written.
  func pages(for tokens: Int) -> [UnsafeMutableRawPointer] {
    let wanted = (count + tokens + cache.pageTokens - 1) / cache.pageTokens
    precondition(tokens > 0 && wanted <= held.count, "tokens are reserved before they are computed")
    precondition(
      held[count / cache.pageTokens..<wanted].allSatisfy { !cache.isShared($0) },
      "a page is written by the one sequence that holds it")
    return held[..<wanted].map(cache.address)
  }

  func advance(_ tokens: Int) { count += tokens }
}
