import DaemonSupport
import Foundation
import HTTPWire
import Testing

/// The commands against a live daemon, with the exit codes of docs/cli.md.
@Suite(.serialized) struct CommandTests {
  @Test func aTaskIsTrainedAskedMovedAndDeleted() async throws {
    let (daemon, folder) = try await Self.daemon()
    let url = ["--url", daemon.addresses[0]]
    let rows = folder.path + "/rows.ndjson"
    try Rows.file(64).write(toFile: rows, atomically: true, encoding: .utf8)
    func corad(_ arguments: [String], input: String = "") async throws -> Command {
      try await blocking { try Command.corad(arguments + url, input: input) }
    }

    // Progress goes to standard error, the result to standard output.
    let trained = try await corad(["train", "animals", "--data", rows, "--epochs", "8", "--wait"])
    #expect(trained.status == 0, "\(trained.errors)")
    #expect(trained.output.contains("succeeded animals@1") && trained.output.contains("accuracy="))
    #expect(trained.errors.contains("loss ") && trained.errors.contains("epoch "), "\(trained.errors)")
    #expect(trained.errors.split(separator: "\n").first?.hasPrefix("job job_") == true)

    let answered = try await corad(["infer", "animals", "the cat sleeps", "the engine is loud"])
    #expect(answered.status == 0, "\(answered.errors)")
    let lines = answered.output.split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
    #expect(lines.map(\.first) == ["animal", "machine"])
    #expect(lines.map(\.last) == ["the cat sleeps", "the engine is loud"])
    let piped = try await corad(
      ["infer", "animals", "--json"], input: (0..<70).map { "text \($0)\n" }.joined())
    let objects = piped.output.split(separator: "\n").map {
      (try? JSONDecoder().decode(JSON.self, from: Data($0.utf8))) ?? .null
    }
    #expect(objects.map { $0["predictions"].items.count } == [64, 6])
    #expect(objects.allSatisfy { $0["task"].string == "animals" && $0["version"].int == 1 })
    let listed = try await corad(["infer", "animals", "the cat sleeps", "--top-k", "2"])
    #expect(listed.output.contains("animal 0.") && listed.output.contains(", machine 0."), "\(listed.output)")
    let embedded = try await corad(["infer", "base", "the cat sleeps"])
    #expect(embedded.output.split(separator: " ").count == 384)

    // CSV goes as a data set; `--json` prints the job alone.
    let table = folder.path + "/rows.csv"
    try Rows.table(64).write(toFile: table, atomically: true, encoding: .utf8)
    let second = try await corad(["train", "animals", "--data", table, "--epochs", "2", "--wait", "--json"])
    #expect(second.status == 0 && second.json["version"].int == 2, "\(second.errors)")
    #expect(second.json["settings"]["epochs"].int == 2 && second.json["state"].string == "succeeded")
    #expect(second.errors.contains("data set ds_") && second.errors.contains("64 rows"))

    let list = try await corad(["adapters"])
    #expect(list.status == 0 && list.output.hasPrefix("TASK") && list.output.contains("classification"))
    let shown = try await corad(["adapters", "show", "animals", "--json"])
    #expect(shown.json["active_version"].int == 2 && shown.json["versions"].items.count == 2)
    let wrong = try await corad(["adapters", "activate", "animals", "1", "--expected", "1"])
    #expect(wrong.status == 4 && wrong.errors.contains("version-conflict"), "\(wrong.errors)")
    #expect(try await corad(["adapters", "activate", "animals", "1", "--expected", "2"]).status == 0)
    let rolled = try await corad(["adapters", "rollback", "animals", "--json"])
    #expect(rolled.json["active_version"].int == 2, "\(rolled.output)\(rolled.errors)")
    #expect(try await corad(["adapters", "delete", "animals", "--version", "1"]).status == 0)
    let kept = try await corad(["adapters", "show", "animals", "--json"])
    #expect(kept.json["versions"].items.map { $0["version"].int } == [2], "\(kept.output)")
    #expect(try await corad(["adapters", "delete", "animals"]).status == 0)
    let gone = try await corad(["infer", "animals", "the cat sleeps"])
    #expect(gone.status == 4 && gone.output.isEmpty && gone.errors.contains("task-not-found"))
    #expect(await daemon.terminate() == .exit(0))
  }

  @Test func jobsAreListedPausedResumedAndCancelled() async throws {
    let (daemon, folder) = try await Self.daemon()
    let url = ["--url", daemon.addresses[0]]
    let rows = folder.path + "/rows.ndjson"
    // Above a megabyte the rows go as a data set of their own.
    try (0..<200).map {
      "{\"text\": \"\($0 % 2 == 0 ? "cat" : "car") \(String(repeating: "padding ", count: 800))\($0)\", \"label\": \"\($0 % 2)\"}\n"
    }
    .joined().write(toFile: rows, atomically: true, encoding: .utf8)
    func corad(_ arguments: [String]) async throws -> Command {
      try await blocking { try Command.corad(arguments + url) }
    }
    let order = ["train", "long", "--data", rows, "--epochs", "100", "--max-length", "16"]
    let started = try await corad(order + ["--idempotency-key", "k1"])
    #expect(started.status == 0 && started.errors.contains("data set ds_"), "\(started.errors)")
    let job = try #require(started.output.split(separator: " ").first.map(String.init))
    #expect(job.hasPrefix("job_"))
    #expect(
      try await eventually { try await corad(["jobs", "show", job, "--json"]).json["step"].int ?? 0 > 0 })
    let paused = try await corad(["jobs", "pause", job])
    #expect(paused.status == 0 && paused.output.contains("paused"), "\(paused.errors)")
    let list = try await corad(["jobs", "--state", "paused"])
    #expect(list.output.contains(job) && list.output.hasPrefix("JOB"))
    #expect(try await corad(["jobs", "list", "--state", "running", "--json"]).json.items.isEmpty)
    let resumed = try await corad(["jobs", "resume", job])
    #expect(resumed.status == 0 && resumed.output.contains("queued"), "\(resumed.output)")

    // Who watches a job that another one cancels learns it from the exit code.
    async let watched = corad(["jobs", "watch", job])
    #expect(
      try await eventually {
        try await corad(["jobs", "show", job, "--json"]).json["state"].string == "running"
      })
    let cancelled = try await corad(["jobs", "cancel", job, "--json"])
    #expect(cancelled.json["state"].string == "cancelled", "\(cancelled.errors)")
    let seen = try await watched
    #expect(seen.status == 1 && seen.output.contains("cancelled"), "\(seen.output)\(seen.errors)")
    #expect(seen.errors.contains("paused") && seen.errors.contains("loss "))
    let again = try await corad(["jobs", "resume", job])
    #expect(again.status == 4 && again.errors.contains("job-state"), "\(again.errors)")
    #expect(try await corad(["jobs", "show", "job_none"]).status == 4)
    #expect(await daemon.terminate() == .exit(0))
  }

  @Test(arguments: [SIGKILL, SIGTERM])
  func whoFollowsAJobOutlastsARestart(signal: Int32) async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    let socket = "unix:\(folder.path)/corad.sock"
    func start() async throws -> LiveDaemon {
      try await LiveDaemon.start(
        store: store, folder: folder.path, listen: [socket], arguments: CrashWorkbench.arguments)
    }
    let rows = folder.path + "/rows.ndjson"
    try Rows.file(64).write(toFile: rows, atomically: true, encoding: .utf8)
    func step(_ daemon: LiveDaemon) async throws -> Int {
      try await daemon.done(.get, "/jobs?task=animals")["items"][0]["step"].int ?? 0
    }
    let daemon = try await start()
    async let trained = blocking {
      try Command.corad([
        "train", "animals", "--data", rows, "--epochs", "20", "--batch-size", "8", "--wait", "--url", socket,
      ])
    }
    #expect(try await eventually { try await step(daemon) >= CrashWorkbench.checkpointSteps })
    daemon.signal(signal)
    _ = await daemon.ended()
    // Away for longer than it takes to ask again.
    try await Task.sleep(for: .seconds(1))
    let next = try await start()
    let seen = try await trained
    #expect(seen.status == 0 && seen.output.contains("succeeded animals@1"), "\(seen.output)\(seen.errors)")
    #expect(seen.errors.components(separatedBy: "broke off").count == 2, "\(seen.errors)")
    #expect(seen.errors.contains("draining") == (signal == SIGTERM))
    // No event is shown twice: the job is queued once at the start, and once more after the break.
    let lines = seen.errors.split(separator: "\n")
    let place = try #require(lines.firstIndex { $0.contains("broke off") })
    #expect(lines[..<place].count { $0 == "running" } == 1, "\(seen.errors)")
    #expect(lines[place...].count { $0 == "running" } == 1, "\(seen.errors)")

    // Patience ends, and there is none for a daemon that was never there.
    async let watched = blocking {
      try Command.corad([
        "train", "animals", "--data", rows, "--epochs", "100", "--wait", "--patience", "1", "--url", socket,
      ])
    }
    #expect(
      try await eventually { try await next.done(.get, "/jobs?state=running")["items"].items.count == 1 })
    #expect(await next.kill() == .signal(SIGKILL))
    let lost = try await watched
    #expect(lost.status == 3 && lost.errors.contains("broke off") && lost.output.isEmpty, "\(lost.errors)")
    let never = try await blocking { try Command.corad(["jobs", "watch", "job_1", "--url", socket]) }
    #expect(never.status == 3 && !never.errors.contains("broke off"), "\(never.errors)")
  }

  @Test func subspacesAreListedShownAndMade() async throws {
    let (daemon, _) = try await Self.daemon()
    let url = ["--url", daemon.addresses[0]]
    let made = try await blocking {
      try Command.corad(["subspace", "create", "plain", "--source", "random", "--rank", "8", "--wait"] + url)
    }
    #expect(made.status == 0 && made.output.contains("succeeded"), "\(made.errors)")
    let list = try await blocking { try Command.corad(["subspace", "--json"] + url) }
    // Newest first.
    #expect(list.json.items.map { $0["name"].string } == ["plain", "default"])
    let shown = try await blocking { try Command.corad(["subspace", "show", "plain"] + url) }
    #expect(shown.output.contains("attention.self.query") && shown.output.contains("random"))
    let refused = try await blocking {
      try Command.corad(["subspace", "create", "grown", "--source", "adapters", "--from", "none@1"] + url)
    }
    #expect(refused.status == 4 || refused.status == 1, "\(refused.errors)")
    #expect(await daemon.terminate() == .exit(0))
  }

  @Test func everyWayToTheDaemonAndTheKey() async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    try Certificate.make(in: folder.path)
    try "the-key\n".write(toFile: folder.path + "/key", atomically: true, encoding: .utf8)
    let socket = "unix:\(folder.path)/corad.sock"
    let daemon = try await LiveDaemon.start(
      store: store, folder: folder.path, listen: ["127.0.0.1:0", socket],
      arguments: [
        "--tls-certificate", folder.path + "/cert.pem", "--tls-key", folder.path + "/key.pem",
        "--api-key-file", folder.path + "/key",
      ])
    let secure = daemon.addresses[0]
    #expect(secure.hasPrefix("https://127.0.0.1:"))
    let key = ["--api-key-file", folder.path + "/key"]
    let ca = ["--ca", folder.path + "/cert.pem"]
    let cases: [([String], Int32)] = [
      (["--url", socket] + key, 0), (["--url", socket], 4), (["--url", secure] + ca + key, 0),
      (["--url", secure] + ca, 4), (["--url", secure] + key, 3),
      (["--url", secure.replacingOccurrences(of: "https", with: "http")] + key, 3),
      (["--url", "unix:\(folder.path)/none"], 3), (["--url", "ftp://a"], 2),
      (["--url", socket, "--none"], 2),
      (["--url", socket, "--api-key-file", folder.path + "/none"], 2),
    ]
    for (arguments, status) in cases {
      let list = try await blocking { try Command.corad(["adapters", "list"] + arguments) }
      #expect(list.status == status, "\(arguments): \(list.errors)")
      #expect(list.errors.isEmpty == (status == 0))
    }
    let byVariable = try await blocking {
      try Command.corad(["adapters"] + key, environment: ["CORAD_URL": socket])
    }
    #expect(byVariable.status == 0)
    // A probe needs no key.
    let probe = try await blocking { try Command.corad(["doctor", "--live", socket]) }
    #expect(probe.status == 0)
    #expect(!daemon.log.contains("the-key"))
    #expect(await daemon.terminate() == .exit(0))
    let down = try await blocking { try Command.corad(["doctor", "--live", socket]) }
    #expect(down.status == 1 && down.errors.contains("nobody answers"))
  }

  @Test func doctorTellsGoodFromBroken() async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    func doctor(_ arguments: [String]) async throws -> Command {
      try await blocking { try Command.corad(["doctor"] + arguments) }
    }
    let good = try await doctor(["--model", LiveDaemon.model, "--store", store])
    #expect(good.status == 0 && !good.output.contains("FAILED"), "\(good.output)")
    #expect(good.output.contains("bert") && good.output.contains("0 active tasks"))

    let broken = folder.path + "/broken"
    try FileManager.default.createDirectory(atPath: broken, withIntermediateDirectories: true)
    for name in ["config.json", "tokenizer.json"] {
      try FileManager.default.copyItem(atPath: LiveDaemon.model + "/" + name, toPath: broken + "/" + name)
    }
    let missing = try await doctor(["--model", broken])
    #expect(missing.status == 1 && missing.output.contains("model.safetensors"), "\(missing.output)")
    let weights = try #require(FileHandle(forReadingAtPath: LiveDaemon.model + "/model.safetensors"))
    try (weights.read(upToCount: 1 << 20) ?? Data()).write(
      to: URL(fileURLWithPath: broken + "/model.safetensors"))
    let cut = try await doctor(["--model", broken])
    #expect(cut.status == 1 && cut.output.contains("FAILED"), "\(cut.output)")
    let inspected = try await blocking { try Command.corad(["model", "inspect", broken]) }
    #expect(inspected.status == 1 && inspected.output.isEmpty && !inspected.errors.isEmpty)

    #expect(try await doctor(["--store", folder.path + "/none.sqlite"]).status == 1)
    let noise = folder.path + "/noise.sqlite"
    try Data(repeating: 7, count: 100_000).write(to: URL(fileURLWithPath: noise))
    #expect(try await doctor(["--store", noise]).status == 1)
    #expect(try Data(contentsOf: URL(fileURLWithPath: noise)) == Data(repeating: 7, count: 100_000))
    let daemon = try await LiveDaemon.start(store: store, folder: folder.path)
    let held = try await doctor(["--store", store])
    #expect(held.status == 1, "\(held.output)")
    // A second daemon on the store does not start.
    let second = try await blocking {
      try Command.corad([
        "serve", "--model", LiveDaemon.model, "--store", store, "--listen", "127.0.0.1:0",
      ])
    }
    #expect(second.status == 1 && !second.errors.isEmpty && !second.output.contains("listening"))
    #expect(await daemon.terminate() == .exit(0))
  }

  @Test func inspectSaysWhatAFolderHolds() async throws {
    let text = try await blocking { try Command.corad(["model", "inspect", LiveDaemon.model]) }
    #expect(text.status == 0 && text.output.contains("encoder.layer.0.attention.self.query"))
    let json = try await blocking { try Command.corad(["model", "inspect", LiveDaemon.model, "--json"]) }.json
    #expect(json["architecture"].string == "bert" && json["width"].int == 384 && json["layers"].int == 6)
    #expect(json["context_tokens"].int == 256 && json["sites"].items.count == 36)
    #expect(json["digest"].string?.hasPrefix("sha256:") == true)
    let none = try await blocking { try Command.corad(["model", "inspect", "/nowhere"]) }
    #expect(none.status == 1)
  }

  static func daemon() async throws -> (LiveDaemon, TemporaryFolder) {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    return (try await LiveDaemon.start(store: store, folder: folder.path), folder)
  }
}
