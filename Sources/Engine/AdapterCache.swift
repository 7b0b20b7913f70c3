public import Adapters
internal import Synchronization

/// Resident adapters by their version's digest, bounded in bytes, least recently used out first. A lease is a strong
/// reference: what leaves the cache lives on until the last batch that uses it ends.
///
/// Every operation takes constant time, whatever is resident or registered.
public final class AdapterCache: Sendable {
  /// What the cache holds and has done.
  public struct Figures: Sendable {
    public var entries = 0
    public var bytes = 0
    public var hits = 0
    public var loads = 0
    public var evictions = 0
  }

  private struct Node {
    var digest: String
    var adapter: ResidentAdapter?
    var newer: Int
    var older: Int
  }

  /// A doubly linked list in an array; node 0 is its sentinel: `older` of it is the newest entry.
  private struct State {
    var nodes: [Node] = [Node(digest: "", adapter: nil, newer: 0, older: 0)]
    var free: [Int] = []
    var index: [String: Int] = [:]
    var figures = Figures()

    mutating func unlink(_ at: Int) {
      let node = nodes[at]
      nodes[node.newer].older = node.older
      nodes[node.older].newer = node.newer
    }

    mutating func linkNewest(_ at: Int) {
      let second = nodes[0].older
      nodes[at].newer = 0
      nodes[at].older = second
      nodes[second].newer = at
      nodes[0].older = at
    }

    mutating func remove(_ at: Int) {
      unlink(at)
      index[nodes[at].digest] = nil
      figures.bytes -= nodes[at].adapter?.bytes ?? 0
      figures.entries -= 1
      nodes[at].adapter = nil
      free.append(at)
    }
  }

  public let limitBytes: Int
  private let state = Mutex(State())

  public init(limitBytes: Int) { self.limitBytes = limitBytes }

  public var figures: Figures { state.withLock { $0.figures } }

  /// The adapter if it is resident; it becomes the most recently used.
  public func lease(_ digest: String) -> ResidentAdapter? {
    state.withLock { state in
      guard let at = state.index[digest] else { return nil }
      state.unlink(at)
      state.linkNewest(at)
      state.figures.hits += 1
      return state.nodes[at].adapter
    }
  }

  /// Makes an adapter resident and returns the resident one: where two callers loaded the same version, the first.
  /// Others leave until the limit holds; one adapter above the limit is leased but not kept.
  public func insert(_ adapter: ResidentAdapter, digest: String) -> ResidentAdapter {
    state.withLock { state in
      if let at = state.index[digest], let resident = state.nodes[at].adapter { return resident }
      state.figures.loads += 1
      guard adapter.bytes <= limitBytes else { return adapter }
      let node = Node(digest: digest, adapter: adapter, newer: 0, older: 0)
      let at: Int
      if let reused = state.free.popLast() {
        at = reused
        state.nodes[at] = node
      } else {
        at = state.nodes.count
        state.nodes.append(node)
      }
      state.index[digest] = at
      state.linkNewest(at)
      state.figures.entries += 1
      state.figures.bytes += adapter.bytes
      while state.figures.bytes > limitBytes {
        state.remove(state.nodes[0].newer)
        state.figures.evictions += 1
      }
      return adapter
    }
  }

  /// Forgets a version, as when it was deleted. Leases stay good.
  public func remove(_ digest: String) {
    state.withLock { state in
      if let at = state.index[digest] { state.remove(at) }
    }
  }
}
