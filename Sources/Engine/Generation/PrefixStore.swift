internal import Models

/// Keys and values of texts that were computed before, page by page, for requests that begin with the same tokens. One
/// shard's; its thread's alone.
///
/// A page is found by its tokens and the page before it; the first one by its tokens, the version's digest and the
/// principal. All are compared in full, never by a digest of them alone, so no version and no principal can be given
/// another's keys and values, and nobody learns from a prompt's speed what another principal has asked.
final class PrefixStore {
  /// Whose pages, and computed with what.
  struct Scope: Hashable {
    /// The version's digest; empty for the bare base.
    let version: String
    let principal: String
  }

  /// The page before, or the scope where there is none.
  private enum Parent: Hashable {
    case scope(Scope)
    case page(Int)
  }

  private struct Key: Hashable {
    let parent: Parent
    let tokens: [Int32]
  }

  private struct Entry {
    let key: Key
    let page: KVPage
    let depth: Int
    var used: Int
  }

  /// A stored page on a text's way.
  struct Found {
    let number: Int
    let page: KVPage
  }

  /// Pages that may be kept.
  let limitPages: Int
  private let pageTokens: Int
  private var numbers: [Key: Int] = [:]
  private var entries: [Int: Entry] = [:]
  private var nextNumber = 0
  private var clock = 0

  init(limitPages: Int, pageTokens: Int) {
    self.limitPages = limitPages
    self.pageTokens = pageTokens
  }

  var pages: Int { entries.count }
  /// Pages that no sequence holds: they go when room is wanted.
  var evictablePages: Int { entries.values.count { !$0.page.isShared } }

  /// The stored pages that a text begins with, at most so many tokens of it.
  func find(_ tokens: [Int32], limitTokens: Int, scope: Scope) -> [Found] {
    guard !entries.isEmpty else { return [] }
    var found: [Found] = []
    var parent = Parent.scope(scope)
    while (found.count + 1) * pageTokens <= limitTokens {
      let start = found.count * pageTokens
      let key = Key(parent: parent, tokens: Array(tokens[start..<start + pageTokens]))
      guard let number = numbers[key], let entry = entries[number] else { break }
      found.append(Found(number: number, page: entry.page))
      parent = .page(number)
    }
    return found
  }

  /// Marks a text's pages as used now.
  func touch(_ numbers: [Int]) {
    clock += 1
    for number in numbers { entries[number]?.used = clock }
  }

  /// Keeps one more page of a text.
  ///
  /// - Parameters:
  ///   - chain: the numbers of the text's pages before it.
  ///   - page: called only where the page is not stored yet.
  /// - Returns: its number; nil where the page before is gone or nothing may be kept.
  func insert(_ tokens: ArraySlice<Int32>, after chain: [Int], scope: Scope, page: () -> KVPage) -> Int? {
    guard limitPages > 0 else { return nil }
    var parent = Parent.scope(scope)
    if let last = chain.last {
      guard entries[last] != nil else { return nil }
      parent = .page(last)
    }
    touch(chain)
    let key = Key(parent: parent, tokens: Array(tokens))
    if let number = numbers[key] {
      entries[number]?.used = clock
      return number
    }
    while entries.count >= limitPages {
      // A text longer than the store keeps its beginning.
      guard let oldest = oldest(where: { _ in true }), entries[oldest]?.used != clock else { return nil }
      remove(oldest)
    }
    let number = nextNumber
    nextNumber += 1
    numbers[key] = number
    entries[number] = Entry(key: key, page: page(), depth: chain.count, used: clock)
    return number
  }

  /// Frees the page that has waited longest for use and that no sequence holds; false where there is none.
  func evict() -> Bool {
    guard let oldest = oldest(where: { !$0.page.isShared }) else { return false }
    remove(oldest)
    return true
  }

  /// Of equally old pages the one farthest from the text's start, so that a page never goes before those after it.
  private func oldest(where allowed: (Entry) -> Bool) -> Int? {
    var oldest: (number: Int, entry: Entry)?
    for (number, entry) in entries where allowed(entry) {
      let order = (entry.used, -entry.depth, number)
      if let held = oldest, (held.entry.used, -held.entry.depth, held.number) < order { continue }
      oldest = (number, entry)
    }
    return oldest?.number
  }

  private func remove(_ number: Int) {
    guard let entry = entries.removeValue(forKey: number) else { return }
    numbers[entry.key] = nil
  }
}
