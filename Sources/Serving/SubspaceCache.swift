internal import Adapters
internal import Models
internal import Store
internal import Synchronization

/// Resident subspaces by digest: each B is packed once, and one of them rides in the base's products. Beside that one they
/// are bounded in bytes, least recently used out first; a lease is a strong reference, as of an adapter.
final class SubspaceCache: Sendable {
  private struct Entry {
    let subspace: ResidentSubspace
    var used: UInt64
  }

  private struct State {
    var entries: [String: Entry] = [:]
    var primary: String?
    var clock: UInt64 = 0

    mutating func lease(_ digest: String) -> ResidentSubspace? {
      guard let subspace = entries[digest]?.subspace else { return nil }
      clock += 1
      entries[digest]?.used = clock
      return subspace
    }

    /// The resident one: where two callers packed the same subspace, the first.
    mutating func keep(_ packed: ResidentSubspace, _ digest: String) -> ResidentSubspace {
      if let first = lease(digest) { return first }
      clock += 1
      entries[digest] = Entry(subspace: packed, used: clock)
      return packed
    }

    /// The most recently used stays whatever its size: packing a large one again costs more than its memory.
    mutating func shrink(to limitBytes: Int) {
      while true {
        let others = entries.filter { $0.key != primary }
        guard others.count > 1, others.values.reduce(0, { $0 + $1.subspace.bytes }) > limitBytes,
          let oldest = others.min(by: { $0.value.used < $1.value.used })?.key
        else { return }
        entries[oldest] = nil
      }
    }
  }

  private let state = Mutex(State())
  private let store: Store
  private let sites: [Site]
  private let limitBytes: Int

  /// - Parameter limitBytes: of the subspaces beside the primary one.
  init(store: Store, sites: [Site], limitBytes: Int) {
    self.store = store
    self.sites = sites
    self.limitBytes = limitBytes
  }

  /// The subspace that `default` names.
  var primary: ResidentSubspace? {
    state.withLock { state in state.primary.flatMap { state.entries[$0]?.subspace } }
  }

  var bytes: Int { state.withLock { $0.entries.values.reduce(0) { $0 + $1.subspace.bytes } } }

  func resident(_ digest: String) async throws(StoreError) -> ResidentSubspace {
    if let resident = state.withLock({ $0.lease(digest) }) { return resident }
    let packed = try await packed(digest)
    return state.withLock { state in
      let resident = state.keep(packed, digest)
      state.shrink(to: limitBytes)
      return resident
    }
  }

  private func packed(_ digest: String) async throws(StoreError) -> ResidentSubspace {
    let value = try await value(digest)
    do throws(AdapterError) {
      return try ResidentSubspace(value, sites: sites)
    } catch {
      throw .corrupt("subspace \(digest): \(error)")
    }
  }

  /// The subspace with its matrices as they were extracted, for training.
  func value(_ digest: String) async throws(StoreError) -> Subspace {
    let bytes = try await store.subspaceBytes(digest: digest)
    do throws(AdapterError) {
      return try Subspace(encoded: bytes)
    } catch {
      throw .corrupt("subspace \(digest): \(error)")
    }
  }

  /// The one before it is bounded like the others from now on.
  func makePrimary(_ digest: String) async throws(StoreError) {
    let resident = try await resident(digest)
    state.withLock { state in
      // It may have left since.
      _ = state.keep(resident, digest)
      state.primary = digest
      state.shrink(to: limitBytes)
    }
  }
}
