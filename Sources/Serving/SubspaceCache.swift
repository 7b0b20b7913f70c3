internal import Adapters
internal import Models
internal import Store
internal import Synchronization

/// Resident subspaces by digest: each B is packed once, and one of them rides in the base's products.
final class SubspaceCache: Sendable {
  private struct State {
    var resident: [String: ResidentSubspace] = [:]
    var primary: String?
  }

  private let state = Mutex(State())
  private let store: Store
  private let sites: [Site]

  init(store: Store, sites: [Site]) {
    self.store = store
    self.sites = sites
  }

  /// The subspace that `default` names.
  var primary: ResidentSubspace? { state.withLock { state in state.primary.flatMap { state.resident[$0] } } }

  var bytes: Int { state.withLock { $0.resident.values.reduce(0) { $0 + $1.bytes } } }

  func resident(_ digest: String) async throws(StoreError) -> ResidentSubspace {
    if let resident = state.withLock({ $0.resident[digest] }) { return resident }
    let value = try await value(digest)
    let packed: ResidentSubspace
    do throws(AdapterError) {
      packed = try ResidentSubspace(value, sites: sites)
    } catch {
      throw .corrupt("subspace \(digest): \(error)")
    }
    return state.withLock { state in
      if let first = state.resident[digest] { return first }
      state.resident[digest] = packed
      return packed
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

  func makePrimary(_ digest: String) async throws(StoreError) {
    _ = try await resident(digest)
    state.withLock { $0.primary = digest }
  }
}
