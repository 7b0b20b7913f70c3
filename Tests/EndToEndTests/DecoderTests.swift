import DaemonSupport
import Foundation
import HTTPWire
import TestSupport
import Testing

/// The real binary on a decoder's folder.
@Suite(.serialized) struct DecoderTests {
  private static func corad(_ arguments: [String]) async throws -> Command {
    try await blocking { try Command.corad(arguments) }
  }

  @Test func aDecoderIsServedTrainedAndAsked() async throws {
    let made = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json")
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    let rows = folder.path + "/rows.ndjson"
    try Rows.file(48).write(toFile: rows, atomically: true, encoding: .utf8)
    let daemon = try await LiveDaemon.start(
      store: store, folder: folder.path, model: made.directory,
      arguments: ["--weights", "bf16", "--deterministic"])
    #expect(daemon.log.contains("deterministic: "))
    let base = try await daemon.send(.get, "/base").json
    #expect(base["architecture"].string == "qwen3" && base["family"].string == "decoder")
    #expect(base["weights"].string == "bf16" && base["dtype"].string == "F32")
    #expect(base["sites"].items.count == 14 && base["context_tokens"].int == 256)

    let url = ["--url", daemon.addresses[0]]
    let trained = try await Self.corad(
      ["train", "animals", "--data", rows, "--epochs", "4", "--sites", "attention", "--recompute", "--wait"]
        + url)
    #expect(trained.status == 0 && trained.output.contains("succeeded animals@1"), "\(trained.errors)")
    let jobs = try await daemon.send(.get, "/jobs").json["items"]
    #expect(
      jobs[0]["settings"]["sites"].items.map(\.string) == ["q_proj", "k_proj", "v_proj", "o_proj"])
    #expect(
      jobs[0]["settings"]["recompute"] == .bool(true) && jobs[0]["settings"]["pooling"].string == "last")
    let answered = try await Self.corad(["infer", "animals", "the cat sleeps"] + url)
    #expect(answered.status == 0 && answered.output.contains("the cat sleeps"), "\(answered.errors)")
    let before = try await daemon.send(
      .post, "/adapters/animals/infer", body: #"{"inputs":["a car","a cat"]}"#)
    #expect(before.status == 200 && before.json["predictions"].items.count == 2)

    let bare = try await daemon.send(
      .post, "/adapters/base/infer", body: #"{"inputs":"a text","parameters":{"max_tokens":4}}"#)
    #expect(bare.status == 200 && bare.json["outputs"].items.count == 1, "\(bare.text)")
    let embedded = try await daemon.send(.post, "/v1/embeddings", body: #"{"model":"base","input":"a"}"#)
    #expect(embedded.status == 422 && embedded.json["error"]["param"].string == "/model", "\(embedded.text)")
    #expect(embedded.json["error"]["message"].string?.hasPrefix("/model is the bare base") == true)
    let classifier = try await daemon.send(
      .post, "/v1/completions", body: #"{"model":"animals","prompt":"a"}"#)
    #expect(
      classifier.status == 422 && classifier.json["error"]["param"].string == "/model", "\(classifier.text)")
    let wrong = try await Self.corad(["train", "animals", "--data", rows, "--sites", "dense"] + url)
    #expect(wrong.status == 4 && wrong.errors.contains("q_proj"), "\(wrong.errors)")
    #expect(await daemon.terminate() == .exit(0))

    // The same store on the weights as they are: the base is the same, and so are its tasks.
    let again = try await LiveDaemon.start(store: store, folder: folder.path, model: made.directory)
    #expect(try await again.send(.get, "/base").json["weights"].string == "f32")
    let after = try await again.send(.post, "/adapters/animals/infer", body: #"{"inputs":["a car","a cat"]}"#)
    #expect(after.status == 200 && after.json["version"].int == 1, "\(after.text)")
    #expect(await again.terminate() == .exit(0))
  }

  @Test func verifyAndInspectSayWhatADecodersFolderHolds() async throws {
    let made = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json")
    let found = try await Self.corad(["model", "verify", made.directory, "--weights", "bf16", "--json"])
    #expect(found.status == 0, "\(found.errors)")
    #expect(found.json["hidden"].items.map(\.int) == [16, 48] && found.json["weights"].string == "bf16")
    #expect(found.json["scores"].items.map(\.int) == [16, 2_048] && found.json["sites"].items.count == 7)
    #expect(found.json["output_digest"].string?.hasPrefix("sha256:") == true)
    let text = try await Self.corad(["model", "verify", made.directory])
    #expect(text.status == 0 && text.output.contains("q_proj") && text.output.contains("hidden_norm"))
    let encoder = try await Self.corad(["model", "verify", LiveDaemon.model, "--json"])
    #expect(encoder.status == 0 && encoder.json["scores"] == .null, "\(encoder.errors)")

    let table = try await Self.corad(["model", "inspect", made.directory, "--rank", "4", "--json"])
    #expect(table.json["rank"].int == 4 && table.json["task_bytes"].items.count == 3)
    #expect(table.json["task_bytes"][0]["shared"].int == 4 * 4 * 2 * 96)
    let shown = try await Self.corad(["model", "inspect", made.directory, "--rank", "4"])
    #expect(shown.output.contains("SHARED B") && shown.output.contains("q_proj,v_proj"), "\(shown.output)")

    let gate = "model.layers.1.mlp.gate_proj.weight"
    let missing = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json") { tensors in
      tensors.removeAll { $0.name == gate }
    }
    let shaped = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json") { tensors in
      for index in tensors.indices where tensors[index].name == gate { tensors[index].shape.reverse() }
    }
    let broken = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json") { tensors in
      for index in tensors.indices where tensors[index].name == gate { tensors[index].values[0] = .infinity }
    }
    for folder in [missing, shaped, broken] {
      let refused = try await Self.corad(["model", "verify", folder.directory])
      #expect(
        refused.status == 1 && refused.output.isEmpty && refused.errors.contains(gate), "\(refused.errors)")
    }
    for folder in [missing, shaped] {
      let refused = try await Self.corad([
        "serve", "--model", folder.directory, "--store", folder.directory + "/s.sqlite", "--listen",
        "127.0.0.1:0",
      ])
      #expect(refused.status == 1 && refused.errors.contains(gate), "\(refused.errors)")
    }
    let format = try await Self.corad(["serve", "--model", made.directory, "--weights", "f8"])
    #expect(format.status == 2 && format.errors.hasPrefix("corad: weights "), "\(format.errors)")
    #expect(try await Self.corad(["model", "verify", made.directory, "--weights", "f8"]).status == 2)
  }
}
