import Foundation
import GRDB
import Testing

@testable import Store

/// Each commit is stopped by SIGKILL on either side: what was acknowledged before is whole, and the commit itself
/// happened exactly when the point is past it.
@Suite struct CrashTests {
  static let points = ["publish", "checkpoint", "event", "transition", "dataset", "job", "activate"].flatMap {
    ["\($0).before-commit", "\($0).after-commit"]
  }

  /// The child's whole life: one of everything, then the named commit under the fault.
  static func live(_ path: String, dyingAt name: String) async throws {
    let store = try TemporaryStore.open(path) { point in
      if point.description == name, FileManager.default.fileExists(atPath: path + ".armed") {
        kill(getpid(), SIGKILL)
      }
    }
    let dataset = try await store.beginDataset(name: "d", kind: "k", isInline: false, by: "t")
    try await store.appendRows([1, 2], count: 2, to: dataset)
    let job = try await store.insert(newJob()).job.id
    _ = try await store.transition(job, from: ["queued"], to: "running", event: "{}")
    try await store.checkpoint([1], step: 1, progress: JobProgress(progress: 0.1, step: 1), of: job)
    _ = try await store.publish(newVersion(bytes: [1]), activation: .always)
    try Data(job.utf8).write(to: URL(filePath: path + ".armed"))
    switch name.split(separator: ".").first {
    case "publish": _ = try await store.publish(newVersion(bytes: [2], job: job), activation: .always)
    case "checkpoint":
      try await store.checkpoint([2], step: 2, progress: JobProgress(progress: 0.2, step: 2), of: job)
    case "event":
      try await store.record(JobProgress(progress: 0.2, step: 2), kind: "step", event: "{}", of: job)
    case "transition": _ = try await store.transition(job, from: ["running"], to: "cancelled", event: "{}")
    case "dataset": _ = try await store.completeDataset(dataset)
    case "job": _ = try await store.insert(newJob())
    default: try await store.activate(task: "tickets", version: 1, expected: 1, by: "again")
    }
  }

  @Test(arguments: points) func aKilledCommitIsWholeOrAbsent(point: String) async throws {
    let place = try TemporaryStore()
    let path: String = place.path
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, point = point as String] in
      try await CrashTests.live(path, dyingAt: point)
    }
    let job = try String(contentsOfFile: path + ".armed", encoding: .utf8)
    let happened = point.hasSuffix("after-commit")
    func isAfter(_ kind: String) -> Bool { happened && point.hasPrefix(kind) }
    let store = try place.open()
    #expect(try await store.verify(digest: testDigest).isEmpty)
    #expect(try await store.versionBytes(1, of: "tickets") == [1])
    let record = try await store.job(job)
    #expect(try await store.versions(of: "tickets").count == (isAfter("publish") ? 2 : 1))
    #expect(
      record.state == (isAfter("publish") ? "succeeded" : isAfter("transition") ? "cancelled" : "queued"))
    #expect(record.step == (isAfter("checkpoint") || isAfter("event") ? 2 : 1))
    let checkpoint = try await store.latestCheckpoint(of: job)
    #expect(checkpoint == (record.state != "queued" ? nil : isAfter("checkpoint") ? [2] : [1]))
    #expect(try await store.datasets(after: nil, limit: 9).count == (isAfter("dataset") ? 1 : 0))
    let jobs = try await store.jobs(state: nil, task: nil, after: nil, limit: 9)
    #expect(jobs.count == (isAfter("job") ? 2 : 1))
    let moves = try await store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM activations") }
    #expect(moves == (isAfter("publish") || isAfter("activate") ? 2 : 1))
    if record.state == "queued" {
      let last = try await store.events(of: job, after: 0, limit: 99).last?.data
      #expect(last == #"{"crashes":1,"state":"queued"}"#)
    }
  }
}
