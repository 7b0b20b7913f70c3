import Foundation
import GRDB
import Testing

@testable import Store

@Suite struct VersionTests {
  @Test func aPublishedVersionIsReadBackByteForByteAfterReopening() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let published = try await store.publish(newVersion(bytes: bytes), activation: .always)
    #expect(published == (1, true))
    let record = try await store.version(1, of: "tickets")
    try store.close()
    let again = try place.open()
    #expect(try await again.versionBytes(1, of: "tickets") == bytes)
    #expect(try await again.version(1, of: "tickets") == record)
    #expect(record.byteCount == bytes.count && record.alpha == 16 && record.createdBy == "tester")
    #expect(try await again.verify(digest: testDigest).isEmpty)
  }

  @Test func numbersAreNeverUsedAgain() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    for expected in 1...3 {
      #expect(try await store.publish(newVersion(), activation: .always).version == expected)
    }
    try await store.deleteVersion(2, of: "tickets")
    try await store.deleteTask("tickets")
    await #expect(throws: StoreError.notFound(.task, id: "tickets")) { try await store.task("tickets") }
    try store.close()
    let again = try place.open()
    // Another kind is fine: it is another task under an old name.
    let published = try await again.publish(newVersion(kind: "regression"), activation: .never)
    #expect(published == (4, false))
    let task = try await again.task("tickets")
    #expect(task.kind == "regression" && task.active == nil && task.versionCount == 1)
  }

  @Test func activationIsCompareAndSet() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    for _ in 1...3 { _ = try await store.publish(newVersion(), activation: .ifActive(nil)) }
    #expect(try await store.task("tickets").active?.version == 1)
    await #expect(throws: StoreError.versionConflict(active: 1)) {
      try await store.activate(task: "tickets", version: 2, expected: 3, by: "x")
    }
    await #expect(throws: StoreError.notFound(.version, id: "tickets@9")) {
      try await store.activate(task: "tickets", version: 9, expected: nil, by: "x")
    }
    try await store.activate(task: "tickets", version: 2, expected: 1, by: "x")
    try await store.activate(task: "tickets", version: 3, expected: 2, by: "x")
    #expect(try await store.rollback(task: "tickets") == 2)
    #expect(try await store.rollback(task: "tickets") == 1)
    await #expect(throws: StoreError.versionConflict(active: 1)) { try await store.rollback(task: "tickets") }
    await #expect(throws: StoreError.self) { try await store.deleteVersion(1, of: "tickets") }
    #expect(try await store.task("tickets").versionCount == 3)
  }

  @Test func theLabelsAreThoseOfTheActiveVersion() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let (two, three) = (#"["a","b"]"#, #"["a","b","c"]"#)
    _ = try await store.publish(newVersion(labels: two), activation: .never)
    _ = try await store.publish(newVersion(labels: three), activation: .always)
    #expect(try await store.task("tickets").labels == three)
    try await store.activate(task: "tickets", version: 1, expected: 2, by: "x")
    #expect(try await store.task("tickets").labels == two)
    #expect(try await store.rollback(task: "tickets") == 2)
    #expect(try await store.task("tickets").labels == three)
    _ = try await store.publish(newVersion(labels: two), activation: .never)
    #expect(try await store.task("tickets").labels == three)
  }

  @Test func aVersionOfSchemaTwoLeavesTheLabelsOfItsTask() async throws {
    let place = try TemporaryStore()
    let queue = try DatabaseQueue(path: place.path)
    try Schema.migrator.migrate(queue, upTo: "v2")
    try await queue.write { database in
      try database.execute(
        sql: """
          PRAGMA application_id = \(Schema.applicationID);
          INSERT INTO tasks VALUES ('tickets', 'classification', '["a","b"]', 1, 2, 0, 7, 't');
          INSERT INTO versions VALUES
            ('tickets', 1, 'd', 'base', NULL, 'cora', 8, 16.0, '[]', '{}', NULL, 1, x'01', 7, 't');
          """)
    }
    try queue.close()
    let store = try place.open()
    _ = try await store.publish(newVersion(labels: #"["a"]"#), activation: .always)
    #expect(try await store.task("tickets").labels == #"["a"]"#)
    try await store.activate(task: "tickets", version: 1, expected: nil, by: "x")
    #expect(try await store.task("tickets").labels == #"["a"]"#)
  }

  @Test func aTaskKeepsItsKind() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    _ = try await store.publish(newVersion(), activation: .always)
    await #expect(throws: StoreError.kindMismatch(task: "tickets", kind: "classification")) {
      try await store.publish(newVersion(kind: "embedding"), activation: .always)
    }
    #expect(try await store.versions(of: "tickets").count == 1)
  }

  @Test func manyPublishersGetTheirOwnNumbers() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let numbers = try await withThrowingTaskGroup(of: (String, Int).self) { group in
      for index in 0..<64 {
        group.addTask {
          let task = "task\(index % 4)"
          return (task, try await store.publish(newVersion(task), activation: .always).version)
        }
      }
      var numbers: [String: [Int]] = [:]
      for try await (task, number) in group { numbers[task, default: []].append(number) }
      return numbers
    }
    #expect(numbers.count == 4 && numbers.values.allSatisfy { $0.sorted() == Array(1...16) })
    for task in try await store.tasks(after: nil, limit: 10) { #expect(task.active?.version == 16) }
    #expect(try await store.verify(digest: testDigest).isEmpty)
  }

  @Test func aCancelledCallerStillGetsTheTruth() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let publishing = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await store.publish(newVersion(), activation: .always).version
    }
    #expect(try await publishing.value == 1)
    #expect(try await store.task("tickets").active?.version == 1)
  }

  @Test func pagesFollowNamesInByteOrder() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    for name in ["b", "a", "B", "a.1"] { _ = try await store.publish(newVersion(name), activation: .always) }
    #expect(try await store.tasks(after: nil, limit: 3).map(\.name) == ["B", "a", "a.1"])
    #expect(try await store.tasks(after: "a.1", limit: 3).map(\.name) == ["b"])
  }

  /// SQLite's plan instead of a time, which no noise of the machine reaches: searches by index, scans of nothing.
  @Test func noRequestScansTheTasks() async throws {
    let place = try TemporaryStore()
    let store = try place.open()
    let statements = [
      "SELECT name FROM tasks WHERE name > 'a' AND is_deleted = 0 ORDER BY name LIMIT 5",
      "SELECT * FROM tasks WHERE name = 'a' AND is_deleted = 0",
      "SELECT rank FROM versions WHERE task = 'a' AND version = 1",
      "SELECT count(*), sum(byte_count) FROM versions WHERE task = 'a'",
      "SELECT * FROM jobs WHERE task = 'a' AND number < 9 ORDER BY number DESC LIMIT 5",
      "SELECT * FROM job_events WHERE job = 'j' AND id > 3 ORDER BY id LIMIT 5",
      "SELECT * FROM job_events WHERE job = 'j' AND id < 3 ORDER BY id DESC LIMIT 5",
      "SELECT step, at, loss FROM checkpoints WHERE job = 'j' ORDER BY step DESC",
      """
      SELECT first_row + rows AS next, bytes FROM dataset_batches WHERE dataset = 'd' AND first_row >= 3
      ORDER BY first_row LIMIT 1
      """,
    ]
    for sql in statements {
      let plan = try await store.read { database in
        try Row.fetchAll(database, sql: "EXPLAIN QUERY PLAN " + sql).map { $0["detail"] as String }
      }
      #expect(plan.allSatisfy { $0.hasPrefix("SEARCH") }, "\(sql): \(plan)")
    }
  }
}
