internal import Adapters
internal import Digests
internal import Store
internal import Synchronization

/// A task as inference needs it: which version answers now.
struct ActiveTask: Sendable {
  let name: String
  let kind: TaskKind
  let version: Int
  /// Of the version's bytes: the key of every cache.
  let digest: String
  let subspace: String?

  init?(_ record: VersionRecord, kind: String) {
    guard let kind = TaskKind(rawValue: kind) else { return nil }
    name = record.task
    self.kind = kind
    version = record.version
    digest = record.digest
    subspace = record.subspace
  }

  init(name: String, kind: TaskKind, version: Int, digest: String, subspace: String?) {
    self.name = name
    self.kind = kind
    self.version = version
    self.digest = digest
    self.subspace = subspace
  }
}

/// The active version of every served task, in memory. One swap of a reference publishes; a look-up takes constant time
/// whatever is registered. The store's commits order the swaps.
final class Catalog: Sendable {
  private let tasks = Mutex<[String: ActiveTask]>([:])

  func lookup(_ name: String) -> ActiveTask? { tasks.withLock { $0[name] } }
  func set(_ task: ActiveTask) { tasks.withLock { $0[task.name] = task } }
  func remove(_ name: String) { tasks.withLock { $0[name] = nil } }
  var count: Int { tasks.withLock { $0.count } }
}
