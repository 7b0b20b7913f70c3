import Foundation
import GRDB
import Testing

@testable import Store

@Suite struct OpeningTests {
  @Test func aSecondOpenerIsRefusedAlsoThroughALink() throws {
    let place = try TemporaryStore()
    let store = try place.open()
    #expect(throws: StoreError.locked(path: store.path)) { _ = try place.open() }
    let link = place.folder + "/link.sqlite"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: place.path)
    #expect(throws: StoreError.locked(path: store.path)) { _ = try TemporaryStore.open(link) }
    try store.close()
    try place.open().close()
  }

  @Test func aClosedStoreThrows() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    try store.close()
    await #expect(throws: StoreError.self) { try await store.taskCount() }
    await #expect(throws: StoreError.self) { try await store.publish(newVersion(), activation: .always) }
  }

  @Test func aForeignFileIsRefusedAndLeftAsItIs() throws {
    let place = try TemporaryStore()
    let refusal = StoreError.foreignFile(path: FileLock.canonicalPath(place.path))
    try Data("not a database at all, but a letter".utf8).write(to: URL(filePath: place.path))
    #expect(throws: refusal) { _ = try place.open() }
    try FileManager.default.removeItem(atPath: place.path)
    try place.vandalise("CREATE TABLE letters (text)")
    let before = try Data(contentsOf: URL(filePath: place.path))
    #expect(throws: refusal) { _ = try place.open() }
    #expect(try Data(contentsOf: URL(filePath: place.path)) == before)
  }

  @Test func aNewerSchemaIsRefused() throws {
    let place = try TemporaryStore()
    try place.open().close()
    try place.vandalise("INSERT INTO grdb_migrations VALUES ('v999')")
    let refusal = StoreError.newerSchema(path: FileLock.canonicalPath(place.path))
    #expect(throws: refusal) { _ = try place.open() }
  }

  @Test func eventsAndCheckpointsOfSchemaOneGetTheTimeOfTheirJob() async throws {
    let place = try TemporaryStore()
    let queue = try DatabaseQueue(path: place.path)
    try Schema.migrator.migrate(queue, upTo: "v1")
    try await queue.write { database in
      try database.execute(
        sql: """
          PRAGMA application_id = \(Schema.applicationID);
          INSERT INTO jobs (id, type, base, state, settings, request, created_at, created_by)
            VALUES ('job_1', 'train', 'base', 'paused', '{}', '{}', 77, 'tester');
          INSERT INTO job_events VALUES ('job_1', 1, 'state', '{}'), ('job_0', 1, 'state', '{}');
          INSERT INTO checkpoints VALUES ('job_1', 8, x'0102');
          """)
    }
    try queue.close()
    let store = try place.open()
    let events = try await store.events(of: "job_1", after: 0, limit: 9)
    #expect(events.map(\.at) == [77] && events.map(\.id) == [1])
    #expect(
      try await store.checkpoints(of: "job_1") == [CheckpointRecord(step: 8, at: 77, loss: nil)])
    #expect(try await store.latestCheckpoint(of: "job_1") == [1, 2])
    _ = try await store.transition("job_1", from: ["paused"], to: "queued", event: "{}")
    #expect(
      try await store.events(of: "job_1", after: 1, limit: 9).map(\.at).allSatisfy { (1..<77).contains($0) })
  }

  @Test func aDamagedFileIsCorrupt() async throws {
    let place = try TemporaryStore()
    try place.open().close()
    let file = try FileHandle(forUpdating: URL(filePath: place.path))
    let end = try file.seekToEnd()
    try file.seek(toOffset: 100)
    try file.write(contentsOf: Data(repeating: 0xa5, count: Int(end) - 100))
    try file.close()
    let error = #expect(throws: StoreError.self) { _ = try place.open() }
    guard case .corrupt = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func changedBytesAreFound() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    _ = try await store.publish(newVersion(), activation: .always)
    try store.close()
    try place.vandalise("UPDATE versions SET bytes = x'010204'; UPDATE tasks SET active = 5")
    let faults = try await place.open().verify(digest: testDigest)
    #expect(
      faults == [
        "Version tickets@1 has other bytes than it says.",
        "Task tickets points to a version that is not there.",
      ])
  }

  @Test func aFullDiskIsSaidAndNothingIsHalfWritten() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    _ = try await store.publish(newVersion(), activation: .always)
    try await store.pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = 60") }
    let large = newVersion(bytes: Array(repeating: 1, count: 1_000_000))
    await #expect(throws: StoreError.full) { try await store.publish(large, activation: .always) }
    #expect(try await store.task("tickets").versionCount == 1)
    #expect(try await store.verify(digest: testDigest).isEmpty)
  }

  @Test func whetherItCanBeWrittenIsKnown() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    func queryOnly(_ value: String) async throws {
      try await store.pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = \(value)") }
    }
    _ = try await store.publish(newVersion(), activation: .always)
    try await queryOnly("ON")
    // The last write was taken, and the next one is not.
    try await store.checkWritable(asOf: .seconds(600))
    await #expect(throws: StoreError.readOnly) { try await store.checkWritable(asOf: .zero) }
    await #expect(throws: StoreError.readOnly) { try await store.checkWritable(asOf: .seconds(600)) }
    try await queryOnly("OFF")
    await #expect(throws: StoreError.readOnly) { try await store.checkWritable(asOf: .seconds(600)) }
    try await store.checkWritable(asOf: .zero)
    // A request that is refused is no fault of the file.
    await #expect(throws: StoreError.self) { try await store.deleteTask("none") }
    try await store.checkWritable(asOf: .seconds(600))
    try await store.pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = 60") }
    let large = newVersion(bytes: Array(repeating: 1, count: 1_000_000))
    await #expect(throws: StoreError.full) { try await store.publish(large, activation: .always) }
    await #expect(throws: StoreError.full) { try await store.checkWritable(asOf: .seconds(600)) }
    #expect(try await store.verify(digest: testDigest).isEmpty)
  }

  @Test func aBackupIsAStore() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    _ = try await store.publish(newVersion(), activation: .always)
    let copy = place.folder + "/copy.sqlite"
    try await store.backup(to: copy)
    await #expect(throws: StoreError.self) { try await store.backup(to: copy) }
    let opened = try TemporaryStore.open(copy)
    #expect(try await opened.versionBytes(1, of: "tickets") == [1, 2, 3])
    #expect(try await opened.verify(digest: testDigest).isEmpty)
  }

  @Test func aClosedStoreIsTheOneFile() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    _ = try await store.publish(newVersion(), activation: .always)
    try store.close()
    let copy = place.folder + "/copy.sqlite"
    try FileManager.default.copyItem(atPath: place.path, toPath: copy)
    let opened = try TemporaryStore.open(copy)
    #expect(try await opened.versionBytes(1, of: "tickets") == [1, 2, 3])
  }

  @Test func everyBaseHasItsOwnNamesAndItsOwnDefault() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    func new(_ base: String, _ name: String, _ byte: UInt8) -> NewSubspace {
      NewSubspace(
        name: name, digest: testDigest([byte]), base: base, source: "weights", scope: "site", center: false,
        rank: 64, bytes: [byte], createdBy: "t")
    }
    let first = try await store.insert(new("one", "default", 1), makeDefault: true)
    await #expect(throws: StoreError.notFound(.subspace, id: "default")) {
      try await store.subspace("default", base: "two")
    }
    let second = try await store.insert(new("two", "default", 2), makeDefault: true)
    let third = try await store.insert(new("two", "more", 3), makeDefault: false)
    await #expect(throws: StoreError.nameTaken("more")) {
      try await store.insert(new("two", "more", 4), makeDefault: false)
    }
    #expect(try await store.subspace("default", base: "one").id == first)
    #expect(try await store.subspace("default", base: "two").id == second)
    #expect(try await store.subspace("more", base: "two").id == third)
    await #expect(throws: StoreError.notFound(.subspace, id: "more")) {
      try await store.subspace("more", base: "one")
    }
    // An id says its base by itself.
    #expect(try await store.subspace(third, base: "one").base == "two")
    let listed = try await store.subspaces(after: nil, limit: 9)
    #expect(listed.map(\.id) == [third, second, first] && listed.map(\.isDefault) == [false, true, true])
    #expect(try await store.verify(digest: testDigest).isEmpty)
  }

  @Test func subspacesAreFoundByIdNameDigestAndDefault() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let new = NewSubspace(
      name: "first", digest: testDigest([9]), base: "base", source: "weights", scope: "site", center: false,
      rank: 64, bytes: [9], createdBy: "t")
    let id = try await store.insert(new, makeDefault: true)
    for key in [id, "first", new.digest, "default"] {
      #expect(try await store.subspace(key, base: "base").id == id)
    }
    #expect(try await store.subspaceBytes(digest: new.digest) == [9])
    await #expect(throws: StoreError.nameTaken("first")) { try await store.insert(new, makeDefault: false) }
    await #expect(throws: StoreError.notFound(.subspace, id: "none")) {
      try await store.subspace("none", base: "base")
    }
    #expect(try await store.subspaces(after: nil, limit: 5).map(\.isDefault) == [true])
  }
}
