import Foundation
import GRDB
import Store
import Synchronization

/// A store in a folder of its own, with a counting clock.
final class TemporaryStore: Sendable {
  let folder: String
  var path: String { folder + "/store.sqlite" }

  init() throws {
    folder = NSTemporaryDirectory() + "corad-store-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  func open(faults: @escaping @Sendable (FaultPoint) -> Void = { _ in }) throws(StoreError) -> Store {
    try Self.open(path, faults: faults)
  }

  static func open(
    _ path: String, faults: @escaping @Sendable (FaultPoint) -> Void = { _ in }
  ) throws(StoreError) -> Store {
    let time = Counter()
    return try Store(
      path: path, now: { Int64(time.next()) }, makeID: { $0 + UUID().uuidString.lowercased() }, faults: faults
    )
  }

  /// Runs SQL on the closed file, as a fault or a stranger would.
  func vandalise(_ sql: String) throws {
    let queue = try DatabaseQueue(path: path)
    try queue.write { try $0.execute(sql: sql) }
    try queue.close()
  }
}

final class Counter: Sendable {
  private let value = Mutex(0)
  func next() -> Int {
    value.withLock {
      $0 += 1
      return $0
    }
  }
}

/// Stands for SHA-256: FNV-1a is enough to notice a changed byte.
@Sendable func testDigest(_ bytes: [UInt8]) -> String {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
  return "test:\(hash)"
}

func newVersion(
  _ task: String = "tickets", kind: String = "classification", labels: String = #"["a","b"]"#,
  bytes: [UInt8] = [1, 2, 3], job: String? = nil
) -> NewVersion {
  NewVersion(
    task: task, kind: kind, labels: labels, digest: testDigest(bytes), base: "base", subspace: nil,
    method: "cora", rank: 8, alpha: 16, sites: #"["q"]"#, metrics: #"{"accuracy":1}"#, job: job, bytes: bytes,
    createdBy: "tester")
}

func newJob(
  task: String? = "tickets", dataset: String? = nil, key: String? = nil, digest: String? = nil,
  by: String = "tester"
) -> NewJob {
  NewJob(
    type: "train", base: "base", task: task, method: "cora", settings: "{}", request: "{}", dataset: dataset,
    idempotencyKey: key, requestDigest: digest, createdBy: by)
}
