import DaemonSupport
import Foundation
import HTTPWire
import TestSupport
import Testing

/// The live daemon dies by SIGKILL on either side of every kind of commit while it trains. What a client was told is
/// there afterwards byte for byte, the commit itself happened exactly when the point is past it, and the job goes on to
/// the bytes of a run that nothing interrupted.
@Suite(.serialized) struct CrashTests {
  struct Fault: Sendable, CustomTestStringConvertible {
    let commit: String
    /// Which commit of its kind: those before belong to what is acknowledged.
    let number: Int
    let isAfter: Bool

    var point: String { "\(commit).\(isAfter ? "after" : "before")-commit" }
    var testDescription: String { "\(point):\(number)" }

    static let all = [
      ("publish", 1), ("checkpoint", 2), ("event", 3), ("transition", 2), ("dataset", 1), ("job", 2),
      ("activate", 1),
    ].flatMap { commit, number in
      [false, true].map { Fault(commit: commit, number: number, isAfter: $0) }
    }
  }

  @Test(arguments: Fault.all) func aDaemonKilledAtACommitLosesNothing(fault: Fault) async throws {
    let prepared = try await CrashPreparation.shared.prepared()
    let folder = try TemporaryFolder()
    let file = StoreFile(path: folder.path + "/store.sqlite")
    try FileManager.default.copyItem(atPath: prepared.store, toPath: file.path)
    var daemon = try await LiveDaemon.start(
      store: file.path, folder: folder.path, arguments: CrashWorkbench.arguments,
      environment: ["CORAD_FAULT": fault.testDescription])
    let long = try await daemon.accept(CrashWorkbench.long("long", method: "cora"))
    let other = try await provoke(fault, daemon)
    #expect(await daemon.ended() == .signal(SIGKILL), "\(daemon.log)")

    #expect(try await file.verify() == [])
    try check(fault, file, long: long, other: other)

    daemon = try await LiveDaemon.start(
      store: file.path, folder: folder.path, arguments: CrashWorkbench.arguments)
    for (version, bytes) in prepared.ready {
      #expect(try file.version(version, of: "ready") == bytes, "ready@\(version)")
      let answer = try await daemon.done(
        .post, "/adapters/ready/infer",
        body: #"{"inputs":"\#(CrashPreparation.question)","parameters":{"version":\#(version)}}"#)
      #expect(answer["predictions"][0] == prepared.answers[version])
    }
    #expect(try file.dataset(prepared.dataset) == prepared.datasetBytes)
    if fault.commit == "job" {
      // The client that was not answered asks again: one job in the end, whichever side of the commit it was.
      let again = try await daemon.accept(CrashWorkbench.short("second", seed: 3), key: "again")
      #expect(try file.count("SELECT count(*) FROM jobs WHERE task = 'second'") == 1)
      #expect(try await daemon.finished(again)["state"].string == "succeeded")
    }
    let ended = try await daemon.finished(long)
    #expect(ended["state"].string == "succeeded" && ended["version"].int == 1, "\(ended)")
    #expect(try file.version(1, of: "long") == prepared.uninterrupted["cora"])
    #expect(await daemon.terminate() == .exit(0))
    #expect(try await file.verify() == [])
  }

  /// The same of a task that writes, killed from outside, twice.
  @Test(arguments: CrashWorkbench.methods) func aWriterThatIsKilledGoesOnToTheSameBytes(
    method: String
  ) async throws {
    let base = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json")
    let folder = try TemporaryFolder()
    let file = StoreFile(path: folder.path + "/store.sqlite")
    func start() async throws -> LiveDaemon {
      try await LiveDaemon.start(
        store: file.path, folder: folder.path, model: base.directory, arguments: CrashWorkbench.arguments)
    }
    func order(_ task: String) -> String {
      CrashWorkbench.long(task, method: method, kind: "generation", epochs: 40)
    }
    var daemon = try await start()
    let reference = try await daemon.finished(try await daemon.accept(order("reference")))
    #expect(reference["state"].string == "succeeded", "\(reference)")
    let job = try await daemon.accept(order("killed"))
    var kept = 0
    for _ in 0..<2 {
      let reached = kept + 2 * CrashWorkbench.checkpointSteps
      #expect(
        try await eventually { try await daemon.done(.get, "/jobs/\(job)")["step"].int ?? 0 >= reached })
      #expect(await daemon.kill() == .signal(SIGKILL))
      #expect(try file.text("SELECT state FROM jobs WHERE id = ?", job) == "running")
      let step = try file.count("SELECT max(step) FROM checkpoints WHERE job = ?", job)
      #expect(step > kept && step % CrashWorkbench.checkpointSteps == 0)
      kept = step
      daemon = try await start()
    }
    let ended = try await daemon.finished(job)
    #expect(ended["state"].string == "succeeded" && ended["steps"] == reference["steps"], "\(ended)")
    let bytes = try #require(try file.version(1, of: "killed"))
    #expect(try file.version(1, of: "reference") == bytes)
    // It went on: the next checkpoint was the one after the last.
    let next = try file.count(
      """
      SELECT min(data ->> 'step') FROM job_events WHERE job = ?1 AND kind = 'checkpoint'
        AND id > (SELECT max(id) FROM job_events WHERE job = ?1 AND data ->> 'state' = 'running')
      """, job)
    #expect(next == kept + CrashWorkbench.checkpointSteps)
    #expect(await daemon.terminate() == .exit(0))
    #expect(try await file.verify() == [])
  }

  /// Makes the commit happen while the long job trains; the daemon does not answer it.
  ///
  /// - Returns: the id of a second job, where one was accepted.
  private func provoke(_ fault: Fault, _ daemon: LiveDaemon) async throws -> String? {
    func dies(_ method: HTTPMethod, _ path: String, type: String? = nil, key: String? = nil, _ body: String?)
      async
    {
      var fields = type.map { [("Content-Type", $0)] } ?? []
      if let key { fields.append(("Idempotency-Key", key)) }
      let answer = try? await daemon.send(method, path, fields: fields, body: body)
      #expect(answer == nil, "\(path) was answered: \(answer?.text ?? "")")
    }
    guard !["publish", "checkpoint", "event"].contains(fault.commit) else { return nil }
    while true {
      let jobs = try await daemon.done(.get, "/jobs?task=long")
      if jobs["items"][0]["step"].int ?? 0 >= CrashWorkbench.checkpointSteps { break }
      try await Task.sleep(for: .milliseconds(10))
    }
    switch fault.commit {
    case "transition":
      let second = try await daemon.accept(CrashWorkbench.short("second", seed: 3))
      await dies(.post, "/jobs/\(second)/cancel", nil)
      return second
    case "dataset":
      await dies(
        .post, "/datasets?name=lost&kind=classification", type: "application/x-ndjson",
        CrashWorkbench.lines(700, seed: 2))
    case "job": await dies(.post, "/train", key: "again", CrashWorkbench.short("second", seed: 3))
    default: await dies(.post, "/adapters/ready/activate", #"{"version":1,"expected":2}"#)
    }
    return nil
  }

  /// The commit is whole or absent, as the point says.
  private func check(_ fault: Fault, _ file: StoreFile, long: String, other: String?) throws {
    func happened(_ commit: String, _ yes: Int, _ no: Int) -> Int {
      fault.commit == commit && fault.isAfter ? yes : no
    }
    #expect(try file.count("SELECT count(*) FROM versions WHERE task = 'long'") == happened("publish", 1, 0))
    let state = try file.text("SELECT state FROM jobs WHERE id = ?", long)
    #expect(state == (happened("publish", 1, 0) == 1 ? "succeeded" : "queued"))
    #expect(try file.count("SELECT count(*) FROM datasets WHERE is_inline = 0") == happened("dataset", 2, 1))
    #expect(try file.count("SELECT active FROM tasks WHERE name = 'ready'") == happened("activate", 1, 2))
    switch fault.commit {
    case "checkpoint":
      let step = try file.count("SELECT max(step) FROM checkpoints WHERE job = ?", long)
      #expect(step == CrashWorkbench.checkpointSteps * (fault.isAfter ? fault.number : fault.number - 1))
    case "event":
      let events = try file.count(
        "SELECT count(*) FROM job_events WHERE job = ? AND kind IN ('step', 'epoch')", long)
      #expect(events == (fault.isAfter ? fault.number : fault.number - 1))
    case "transition":
      let state = try file.text("SELECT state FROM jobs WHERE id = ?", other ?? "")
      #expect(state == (fault.isAfter ? "cancelled" : "queued"))
    case "job":
      #expect(try file.count("SELECT count(*) FROM jobs WHERE task = 'second'") == (fault.isAfter ? 1 : 0))
    default: break
    }
  }
}
