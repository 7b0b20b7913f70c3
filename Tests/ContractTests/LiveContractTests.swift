import DaemonSupport
import Digests
import Foundation
import HTTPClient
import HTTPWire
import Store
import TestSupport
import Testing

@testable import API

/// Every operation of the contract and every code that it documents, met on the real binary over a socket.
@Suite struct LiveContractTests {
  /// Made by the steps and used by the later ones.
  private final class Scene {
    let trial: Trial
    let folder: String
    var dataset = ""
    var base = ""

    init(_ trial: Trial, _ folder: String) {
      self.trial = trial
      self.folder = folder
    }
  }

  @Test func everyOperationAndEveryCodeIsMet() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("corad-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let scene = Scene(Trial(try await Contract.load()), folder.path)
    let trial = scene.trial

    let first = try await LiveDaemon.start(
      in: folder.path, "first",
      [
        "--queue-rows", "64", "--batch-tokens", "512", "--queue-jobs", "2", "--connections", "12",
        "--head-timeout-ms", "1000", "--body-timeout-ms", "1000",
      ])
    try trial.turn(to: first)
    try about(scene)
    try training(scene)
    try subspaces(scene)
    try answers(scene)
    try refusals(scene)
    try framing(scene, first)
    try OpenAISteps.all(trial, Self.rows)
    try removals(scene)
    #expect(await first.terminate() == .exit(0), "\(first.log)")

    try await tamper(scene)
    try "secret\n".write(toFile: folder.path + "/key", atomically: true, encoding: .utf8)
    let control = folder.path + "/fault"
    let second = try await LiveDaemon.start(
      in: folder.path, "second", ["--api-key-file", folder.path + "/key"],
      environment: ["LD_PRELOAD": try shim(folder.path), "CORAD_WRITE_FAULT": control])
    try trial.turn(to: second)
    try trial.refused(.unauthorized, "getBase", "/base")
    try trial.refused(.unauthorized, "listModels", "/v1/models")
    try trial.call("getLivez", "/livez")
    try trial.turn(to: second, key: "secret")
    try faults(scene, control, second)
    try stop(scene, second)
    #expect(await second.ended() == .exit(0), "\(second.log)")

    let base = try WriterSteps.base()
    let third = try await LiveDaemon.start(in: folder.path, "third", model: base.directory)
    try trial.turn(to: third)
    try WriterSteps.all(trial, third.url)
    #expect(await third.terminate() == .exit(0), "\(third.log)")

    #expect(Set(trial.contract.operations.keys).subtracting(trial.operations) == [])
    #expect(
      trial.contract.openAICodes.symmetricDifference(trial.openAICodes) == [
        "not-found", "method-not-allowed",
      ])
    let promised = trial.contract.codes.union([
      ProblemCode.notFound.rawValue, ProblemCode.methodNotAllowed.rawValue,
    ])
    #expect(promised.subtracting(trial.codes) == [])
    #expect(trial.codes.subtracting(promised) == [])
  }

  private func about(_ scene: Scene) throws {
    let trial = scene.trial
    try trial.call("getLivez", "/livez")
    try trial.call("getReadyz", "/readyz")
    try trial.call("getMetrics", "/metrics")
    let yaml = try trial.send("getContract", "/openapi.yaml", nil, [], "")
    #expect(yaml.text == (try Contract.yaml))
    try trial.call("getContract", "/openapi.yaml")
    let json = try trial.call("getContractJSON", "/openapi.json")
    #expect(trial.contract.faults(json, schema: "ContractDocument") == [])
    #expect(json.members.map(\.name).prefix(2) == ["openapi", "info"])
    scene.base = try trial.call("getBase", "/base")["digest"]?.string ?? ""
  }

  private static let texts = ["the card was charged twice", "cannot log in today", "the parcel never came"]
  private static let labels = ["billing", "access", "parcel"]
  private static var rows: [String] {
    (0..<24).map { #"{"text": "\#(texts[$0 % 3]) \#($0)", "label": "\#(labels[$0 % 3])"}"# }
  }

  private func training(_ scene: Scene) throws {
    let trial = scene.trial
    let upload = try trial.call(
      "createDataset", "/datasets?name=tickets&kind=classification", Self.rows.joined(separator: "\n"),
      type: "application/x-ndjson", status: 201)
    scene.dataset = upload["id"]?.string ?? ""
    let id = scene.dataset
    #expect(upload["rows"]?.number?.integer == 24)
    try trial.call("listDatasets", "/datasets")
    try trial.call("getDataset", "/datasets/\(id)")
    for _ in 0..<2 {
      let job = try trial.call(
        "train", "/train", #"{"task": "tickets", "data": {"dataset": "\#(id)"}, "epochs": 2}"#, status: 202)
      let done = try trial.job(job["id"]?.string ?? "")
      #expect(done["state"]?.string == "succeeded", "\(done)")
      let events = try trial.events(of: job["id"]?.string ?? "")
      #expect(events.first?.event == "state" && events.last?.event == "state")
      #expect(events.contains { $0.event == "epoch" })
    }
    // Named, a version answers that was never active.
    let hidden = try trial.call(
      "train", "/train",
      #"{"task": "hidden", "data": {"examples": [\#(Self.rows.joined(separator: ","))]}, "activate": "never", "epochs": 1}"#,
      status: 202)
    _ = try trial.job(hidden["id"]?.string ?? "")
    try trial.refused(.versionNotFound, "inferAdapter", "/adapters/hidden/infer", #"{"inputs": "x"}"#)
    try trial.call(
      "inferAdapter", "/adapters/hidden/infer", #"{"inputs": "x", "parameters": {"version": 1}}"#)

    let long =
      try trial.call(
        "train", "/train",
        #"{"task": "long", "data": {"dataset": "\#(id)"}, "epochs": 1000, "activate": "never"}"#,
        [("Idempotency-Key", "long")], status: 202)["id"]?.string ?? ""
    // A running job shows its figures as soon as there are any.
    let running = try trial.job(long) { $0["metrics"] != .null }
    #expect(running["state"]?.string == "running")
    #expect(running["metrics"]?["accuracy"]?.number != nil)
    #expect(running["loss"]?.number != nil && running["steps"]?.number != nil)
    try trial.refused(
      .idempotencyConflict, "train", "/train", #"{"task": "other", "data": {"dataset": "\#(id)"}}"#,
      [("Idempotency-Key", "long")])
    try trial.refused(.inUse, "deleteDataset", "/datasets/\(id)")
    let order = #"{"task": "next", "data": {"dataset": "\#(id)"}, "activate": "never"}"#
    let waiting = try (0..<2).map { _ in
      try trial.call("train", "/train", order, status: 202)["id"]?.string ?? ""
    }
    try trial.refused(.overloaded, "train", "/train", order)
    try trial.refused(
      .overloaded, "createSubspace", "/subspaces", #"{"name": "more", "source": "random", "rank": 2}"#)
    try trial.call("pauseJob", "/jobs/\(waiting[0])/pause")
    try trial.call("resumeJob", "/jobs/\(waiting[0])/resume")
    for job in [long] + waiting { try trial.call("cancelJob", "/jobs/\(job)/cancel") }
    try trial.refused(.jobState, "resumeJob", "/jobs/\(long)/resume")
    let list = try trial.call("listJobs", "/jobs?state=cancelled&limit=2")
    #expect(list["items"]?.array?.count == 2)
    try trial.call("listJobs", "/jobs?after=\(list["next"]?.string ?? "")")
  }

  private func subspaces(_ scene: Scene) throws {
    let trial = scene.trial
    let job = try trial.call(
      "createSubspace", "/subspaces", #"{"name": "random", "source": "random", "rank": 4}"#, status: 202)
    #expect(try trial.job(job["id"]?.string ?? "")["subspace"]?.string != nil)
    try trial.call("listSubspaces", "/subspaces?limit=1")
    let shown = try trial.call("getSubspace", "/subspaces/random")
    #expect(shown["sites"]?.array?.isEmpty == false)
    let whole = try trial.call(
      "createSubspace", "/subspaces", #"{"name": "own", "source": "weights", "rank": 2}"#, status: 202)
    // The base's weights are what is meant where none are named.
    #expect(whole["settings"]?["checkpoints"]?.array?.compactMap(\.string) == ["base"])
    try trial.call("cancelJob", "/jobs/\(whole["id"]?.string ?? "")/cancel")
    try trial.refused(
      .subspaceNotGrown, "createSubspace", "/subspaces",
      #"{"name": "grown", "source": "adapters", "versions": ["tickets@1"]}"#)
    try trial.refused(.subspaceNotFound, "getSubspace", "/subspaces/none")
  }

  private func answers(_ scene: Scene) throws {
    let trial = scene.trial
    try trial.call("listAdapters", "/adapters")
    let task = try trial.call("getAdapter", "/adapters/tickets")
    #expect(task["active_version"]?.number?.integer == 2)
    try trial.call("getAdapterVersion", "/adapters/tickets/versions/1")
    let one = try trial.call(
      "inferAdapter", "/adapters/tickets/infer",
      #"{"inputs": ["charged twice", {"text": "a", "text_pair": "b"}]}"#)
    #expect(one["predictions"]?.array?.count == 2)
    for encoding in ["float", "base64"] {
      try trial.call(
        "inferAdapter", "/adapters/base/infer", #"{"inputs": "a", "encoding": "\#(encoding)"}"#)
    }
    let raw = try trial.send(
      "inferAdapter", "/adapters/base/infer", #"{"inputs": ["a", "b"]}"#,
      [("Accept", "application/octet-stream")],
      "application/json")
    #expect(raw.status == 200 && raw.body.count == 2 * 384 * 4)
    let many = try trial.call(
      "infer", "/infer", #"{"items": [{"task": "tickets", "input": "x"}, {"task": "base", "input": "y"}]}"#)
    #expect(many["results"]?.array?.count == 2)
    try trial.refused(
      .versionConflict, "activateAdapter", "/adapters/tickets/activate", #"{"version": 1, "expected": 1}"#)
    let moved = try trial.call(
      "activateAdapter", "/adapters/tickets/activate", #"{"version": 1, "expected": 2}"#)
    #expect(moved["active_version"]?.number?.integer == 1)
    let back = try trial.call("rollbackAdapter", "/adapters/tickets/rollback")
    #expect(back["active_version"]?.number?.integer == 2)
  }

  private func refusals(_ scene: Scene) throws {
    let trial = scene.trial
    let infer = "/adapters/tickets/infer"
    try trial.refused(.notFound, "getBase", "/nothing")
    try trial.refused(.methodNotAllowed, "getBase", "/train")
    try trial.refused(.taskNotFound, "getAdapter", "/adapters/none")
    try trial.refused(.versionNotFound, "getAdapterVersion", "/adapters/tickets/versions/9")
    try trial.refused(.jobNotFound, "getJob", "/jobs/none")
    try trial.refused(.jobNotFound, "getJobEvents", "/jobs/none/events")
    try trial.refused(.datasetNotFound, "getDataset", "/datasets/none")
    try trial.refused(.notAcceptable, "infer", "/infer", "{}", [("Accept", "text/html")])
    try trial.refused(.unsupportedMediaType, "infer", "/infer", "{}", type: "text/plain")
    let broken = try trial.refused(.malformedJSON, "infer", "/infer", #"{"items": [}"#)
    #expect(broken["offset"]?.number?.integer == 11)
    let half = try trial.refused(.invalidUnicode, "inferAdapter", infer, #"{"inputs": ["a", "\ud800"]}"#)
    #expect(half["pointer"]?.string == "/inputs/1")
    let wrong = try trial.refused(.validationFailed, "inferAdapter", infer, #"{"inputs": "", "x": 1}"#)
    #expect(wrong["errors"]?.array?.compactMap { $0["pointer"]?.string } == ["/x", "/inputs"])
    let row = try trial.refused(
      .invalidRow, "createDataset", "/datasets?name=bad&kind=classification",
      Self.rows[0] + "\n" + #"{"text": "no label"}"# + "\n", type: "application/x-ndjson")
    #expect(row["line"]?.number?.integer == 2)
    let text = String(repeating: "word ", count: 400)
    let long = try trial.refused(.textTooLong, "inferAdapter", infer, #"{"inputs": ["a", "\#(text)"]}"#)
    #expect(long["tokens"]?.number?.integer == 402 && long["limit"]?.number?.integer == 256)
    #expect(long["pointer"]?.string == "/inputs/1")
    let most = Array(repeating: "\"\(String(repeating: "word ", count: 200))\"", count: 64)
    try trial.refused(
      .deadlineExceeded, "inferAdapter", infer, #"{"inputs": [\#(most.joined(separator: ","))]}"#,
      [("X-Request-Timeout", "1")])
    let full = Array(repeating: #""x""#, count: 65).joined(separator: ",")
    let queue = try trial.refused(.overloaded, "inferAdapter", infer, #"{"inputs": [\#(full)]}"#)
    #expect(queue["limit"]?.number?.integer == 64)
    let large = String(repeating: " ", count: 300 << 10)
    try trial.refused(.bodyTooLarge, "activateAdapter", "/adapters/tickets/activate", large)
  }

  /// Messages that no client of ours sends.
  private func framing(_ scene: Scene, _ daemon: LiveDaemon) throws {
    let trial = scene.trial
    let host = "Host: a\r\n"
    try trial.refused(.malformedRequest, raw: "GET /livez HTTP/1.1\r\n" + host + "Content-Length: +5\r\n\r\n")
    try trial.refused(.versionNotSupported, raw: "GET /livez HTTP/2.0\r\n" + host + "\r\n")
    try trial.refused(
      .notImplemented, raw: "POST /infer HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n")
    try trial.refused(
      .expectationFailed, raw: "POST /infer HTTP/1.1\r\n" + host + "Expect: tea\r\nContent-Length: 1\r\n\r\n")
    try trial.refused(
      .uriTooLong, raw: "GET /\(String(repeating: "a", count: 15_000)) HTTP/1.1\r\n" + host + "\r\n")
    let fields = (0..<200).map { "F\($0): x\r\n" }.joined()
    try trial.refused(.fieldsTooLarge, raw: "GET /livez HTTP/1.1\r\n" + host + fields + "\r\n")
    let field = "F: \(String(repeating: "a", count: 20_000))\r\n"
    try trial.refused(.fieldsTooLarge, raw: "GET /livez HTTP/1.1\r\n" + host + field + "\r\n")
    let typed = host + "Content-Type: application/json\r\n\r\n"
    try trial.refused(.lengthRequired, raw: "POST /infer HTTP/1.1\r\n" + typed)
    try trial.refused(
      .lengthRequired, raw: "POST /v1/embeddings HTTP/1.1\r\n" + typed, as: "createEmbeddings")
    try trial.refused(.requestTimeout, raw: "GET /livez HTTP/1.1\r\n")
    try trial.refused(
      .requestTimeout,
      raw: "POST /infer HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
    // As many connections as may be, and one more.
    do {
      let held = try (0..<12).map { _ in try RawConnection(daemon.url) }
      try trial.refused(.notReady, raw: "GET /livez HTTP/1.1\r\n" + host + "\r\n")
      withExtendedLifetime(held) {}
    }
    while try trial.send("getLivez", "/livez", nil, [], "").status != 200 { usleep(5_000) }
  }

  private func removals(_ scene: Scene) throws {
    let trial = scene.trial
    try trial.refused(.inUse, "deleteAdapterVersion", "/adapters/tickets/versions/2")
    try trial.call("deleteAdapterVersion", "/adapters/tickets/versions/1", status: 204)
    try trial.call("deleteAdapter", "/adapters/hidden", status: 204)
    try trial.refused(.taskNotFound, "deleteAdapter", "/adapters/hidden")
    try trial.call("deleteDataset", "/datasets/\(scene.dataset)", status: 204)
  }

  /// Versions as only a damaged or foreign store holds them.
  private func tamper(_ scene: Scene) async throws {
    let store = try Store(
      path: scene.folder + "/corad.sqlite", now: { Int64(Date().timeIntervalSince1970 * 1_000) },
      makeID: { $0 + UUID().uuidString })
    let bytes = Array("no adapter".utf8)
    let digest = "\(Digest.sha256(of: bytes))"
    for (task, base, digest) in [
      ("garbled", scene.base, digest), ("foreign", "sha256:00", digest), ("swapped", scene.base, "sha256:00"),
    ] {
      _ = try await store.publish(
        NewVersion(
          task: task, kind: "classification", labels: #"["a","b"]"#, digest: digest, base: base,
          subspace: nil,
          method: "lora", rank: 4, alpha: 8, sites: "[]", metrics: "{}", job: nil, bytes: bytes,
          createdBy: "test"), activation: .always)
    }
    try store.close()
  }

  private func shim(_ folder: String) throws -> String {
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Faults/write_fault.c").path
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = ["clang", "-shared", "-fPIC", "-o", folder + "/write_fault.so", source, "-ldl"]
    try compiler.run()
    compiler.waitUntilExit()
    try #require(compiler.terminationStatus == 0)
    return folder + "/write_fault.so"
  }

  private func faults(_ scene: Scene, _ control: String, _ daemon: LiveDaemon) throws {
    let trial = scene.trial
    let body = #"{"inputs": "x"}"#
    try trial.refused(.invalidAdapter, "inferAdapter", "/adapters/garbled/infer", body)
    try trial.refused(.baseMismatch, "inferAdapter", "/adapters/foreign/infer", body)
    try trial.refused(.internal, "inferAdapter", "/adapters/swapped/infer", body)
    try OpenAISteps.damaged(trial)
    #expect(daemon.log.contains("other bytes than its digest"))
    let upload = Self.rows.joined(separator: "\n")
    try "\(ENOSPC)".write(toFile: control, atomically: true, encoding: .utf8)
    let target = "/datasets?name=more&kind=classification"
    try trial.refused(.insufficientStorage, "createDataset", target, upload, type: "application/x-ndjson")
    try OpenAISteps.upload(trial, Self.rows, refused: .insufficientStorage)
    let full = try trial.refused(.notReady, "getReadyz", "/readyz")
    #expect(full["reasons"]?.array?.compactMap(\.string) == ["store full"])
    try "\(EIO)".write(toFile: control, atomically: true, encoding: .utf8)
    try trial.refused(.storeUnavailable, "createDataset", target, upload, type: "application/x-ndjson")
    try OpenAISteps.upload(trial, Self.rows, refused: .storeUnavailable)
    let broken = try trial.refused(.notReady, "getReadyz", "/readyz")
    #expect(broken["reasons"]?.array?.compactMap(\.string) == ["store cannot be written"])
    try FileManager.default.removeItem(atPath: control)
    // It goes on as if nothing had been.
    let more = try trial.call("createDataset", target, upload, type: "application/x-ndjson", status: 201)
    scene.dataset = more["id"]?.string ?? ""
    try trial.call("getReadyz", "/readyz")
    try trial.call("inferAdapter", "/adapters/tickets/infer", body)
  }

  /// What is asked of a daemon that has been told to stop, on connections that it has still to answer.
  private func stop(_ scene: Scene, _ daemon: LiveDaemon) throws {
    let native = try RawConnection(daemon.url)
    let openAI = try RawConnection(daemon.url)
    let body = #"{"task": "late", "data": {"examples": [\#(Self.rows.joined(separator: ","))]}}"#
    let order = #"{"model": "base", "training_file": "\#(scene.dataset)"}"#
    func begin(_ connection: RawConnection, _ path: String, _ body: String) throws {
      try connection.send(
        "POST \(path) HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\n"
          + "Content-Length: \(body.utf8.count)\r\n\r\n{")
    }
    try begin(native, "/train", body)
    try begin(openAI, "/v1/fine_tuning/jobs", order)
    // The heads have arrived when another request has been answered.
    try scene.trial.call("getLivez", "/livez")
    daemon.signal(SIGTERM)
    while !daemon.log.contains("draining") { usleep(5_000) }
    try native.send(String(body.dropFirst()))
    scene.trial.hold(try native.answer(), "train", .draining)
    try openAI.send(String(order.dropFirst()))
    scene.trial.hold(try openAI.answer(), "createFineTuningJob", .draining)
  }
}
