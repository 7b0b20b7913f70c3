import Adapters
import Foundation
import Logging
import Models
import TestSupport
import Testing
import Training

@testable import Serving

/// A daemon's core whose base is a decoder.
@Suite(.serialized) struct DecoderNodeTests {
  static func withDecoder<R: Sendable>(
    weights: WeightFormat = .f32, positions: Int = 256, files: [String: String] = [:],
    adjust: (inout ServingConfiguration) -> Void = { _ in },
    edit: (inout [MadeDecoder.Tensor]) -> Void = { _ in }, _ body: @Sendable (Node) async throws -> R
  ) async throws -> R {
    var shape = MadeDecoder.Shape.withTokenizer
    shape.positions = positions
    let made = try MadeDecoder(shape, tokenizer: "qwen.json", files: files, edit: edit)
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let store = folder.appendingPathComponent("store.sqlite").path
    var configuration = ServingConfiguration(modelDirectory: made.directory, storePath: store)
    configuration.weights = weights.rawValue
    adjust(&configuration)
    let node = try await Node.open(
      configuration, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    return try await withThrowingTaskGroup(of: Void.self, returning: R.self) { group in
      group.addTask { await node.run() }
      let result: Result<R, any Error>
      do { result = .success(try await body(node)) } catch { result = .failure(error) }
      await node.drain()
      try await group.waitForAll()
      await node.close()
      return try result.get()
    }
  }

  static func rows(_ kind: TaskKind) -> [TrainingExample] {
    Rows.colours.compactMap { row in
      guard case .classification(let text, _, let label, _) = row else { return nil }
      return switch kind {
      case .classification: row
      case .multilabel: .multilabel(text: text, labels: label == "food" ? ["food", "daily"] : ["colour"])
      case .regression: .regression(text: text, value: label == "food" ? 20 : 10)
      case .embedding: .embedding(anchor: text, positive: label == "food" ? "to eat" : "to see")
      case .generation: .completion(prompt: text, completion: label == "food" ? " to eat" : " to see")
      }
    }
  }

  static func learn(
    _ node: Node, _ kind: TaskKind, method: String = "cora", rows: [TrainingExample]? = nil,
    task: String? = nil, activate: Activation = .always,
    _ change: (inout TrainingSettings) -> Void = { _ in }
  ) async throws -> JobSummary {
    let job = try await start(
      node, kind, method: method, rows: rows, task: task, activate: activate, change)
    return try await node.finished(job.id)
  }

  static func start(
    _ node: Node, _ kind: TaskKind, method: String = "cora", rows: [TrainingExample]? = nil,
    task: String? = nil, activate: Activation = .always,
    _ change: (inout TrainingSettings) -> Void = { _ in }
  ) async throws -> JobSummary {
    var settings = TrainingSettings.defaults(kind: kind, method: method, on: .decoder)
    settings.epochs = 8
    settings.batchSize = 8
    settings.rank = 4
    settings.alpha = 8
    settings.validation = 0.2
    settings.maxLength = 32
    change(&settings)
    let request = TrainingRequest(
      task: task ?? "\(kind.rawValue)-\(method)", data: .examples(rows ?? Self.rows(kind)),
      settings: settings, subspace: nil, activate: activate, from: nil, idempotencyKey: nil,
      requestDigest: "\(kind)\(method)")
    return try await node.train(request, principal: .anonymous)
  }

  private static func answer(_ node: Node, _ task: String, _ texts: [String]) async throws -> [Prediction] {
    try await node.infer(
      task: task, inputs: InferenceInputs(texts), options: InferenceOptions(), timeoutMilliseconds: nil,
      principal: .anonymous
    ).predictions
  }

  @Test(arguments: WeightFormat.allCases)
  func everyKindIsTrainedAndAnswered(_ weights: WeightFormat) async throws {
    try await Self.withDecoder(weights: weights) { node in
      #expect(
        node.base.family == .decoder && node.base.architecture == "qwen3" && node.base.weights == weights)
      #expect(node.base.contextTokens == 256 && node.base.sites.count == 14)
      let ready = await node.readiness().isReady
      #expect(ready)
      for kind in TaskKind.allCases {
        let job = try await Self.learn(node, kind)
        #expect(job.state == .succeeded, "\(kind): \(job.error?.detail ?? "")")
        let sites =
          kind == .generation
          ? #"["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]"#
          : #"["q_proj","v_proj"]"#
        #expect(job.settingsJSON.contains(#""sites":\#(sites)"#), "\(job.settingsJSON)")
      }
      let texts = ["the door is red", "i cook fish for lunch"]
      guard
        case .classification(let colour) = try await Self.answer(node, "classification-cora", texts)[0],
        case .classification(let food) = try await Self.answer(node, "classification-cora", texts)[1],
        case .multilabel(let many, let chosen) = try await Self.answer(node, "multilabel-cora", texts)[1],
        case .regression(let value) = try await Self.answer(node, "regression-cora", texts)[0],
        case .embedding(let vector) = try await Self.answer(node, "embedding-cora", texts)[0]
      else {
        Issue.record("an answer is of another kind")
        return
      }
      #expect(colour[0] > colour[1] && food[1] > food[0], "colour before food, by bytes")
      #expect(many.count == 3 && !chosen.isEmpty)
      #expect(value.isFinite && abs(value - 15) < 20)
      #expect(vector.count == 48 && abs(vector.reduce(0) { $0 + $1 * $1 } - 1) < 1e-4)
      let summary = try await node.task("classification-cora")
      #expect(
        summary.active?.sites == [
          "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
          "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj",
        ])
    }
  }

  @Test func recomputedJobsAndOwnBasesAnswerInOneBatch() async throws {
    try await Self.withDecoder { node in
      let kept = try await Self.learn(node, .classification) { $0.sites = SiteKind.decoder }
      let first = try await node.version(1, of: "classification-cora")
      let again = try await Self.learn(node, .classification) {
        $0.sites = SiteKind.decoder
        $0.recompute = true
      }
      #expect(kept.state == .succeeded && again.state == .succeeded)
      #expect(again.settingsJSON.contains(#""recompute":true"#))
      #expect(again.settingsJSON.contains(#""down_proj""#))
      let second = try await node.version(2, of: "classification-cora")
      #expect(second.digest == first.digest, "the same bytes")
      let own = try await Self.learn(node, .classification, method: "lora") { $0.sites = SiteKind.decoder }
      #expect(own.state == .succeeded)

      let texts = ["the wall is blue", "i cook rice for dinner", "her house is red", "a cake"]
      let tasks = ["classification-cora", "classification-lora"]
      var inputs = InferenceInputs(.list("/items", member: "input"))
      var items: [InferenceItem] = []
      for (index, text) in texts.enumerated() {
        inputs.append(text)
        items.append(InferenceItem(task: tasks[index % 2], options: InferenceOptions()))
      }
      let together = try await node.infer(
        items: items, inputs: inputs, timeoutMilliseconds: nil, principal: .anonymous)
      for (index, text) in texts.enumerated() {
        let alone = try await Self.answer(node, tasks[index % 2], [text])
        #expect(alone[0] == together.predictions[index], "\(text)")
      }
    }
  }

  static func refusal(_ body: () async throws -> Void) async -> String? {
    do {
      try await body()
      return nil
    } catch ServingError.validation(let fields) {
      return fields.map { "\($0.pointer) \($0.detail)" }.joined(separator: "; ")
    } catch {
      return "\(error)"
    }
  }

  @Test func theBareDecoderHasNoEmbeddingsAndATextHasTokens() async throws {
    try await Self.withDecoder { node in
      let alone = await Self.refusal { _ = try await Self.answer(node, "base", ["a"]) }
      #expect(alone?.hasPrefix("task is the bare base") == true, "\(alone ?? "")")
      var inputs = InferenceInputs(.list("/items", member: "input"))
      inputs.append("a")
      let items = [InferenceItem(task: "base", options: InferenceOptions())]
      let batch = inputs
      let many = await Self.refusal {
        _ = try await node.infer(items: items, inputs: batch, timeoutMilliseconds: nil, principal: .anonymous)
      }
      #expect(many?.hasPrefix("/items/0/task is the bare base") == true, "\(many ?? "")")
      let dropout = await Self.refusal {
        _ = try await Self.learn(node, .classification) { $0.dropout = 0.5 }
      }
      #expect(dropout?.hasPrefix("/dropout ") == true, "\(dropout ?? "")")
    }
  }

  @Test func aFolderThatCannotBeServedIsRefusedByName() async throws {
    let gate = "model.layers.1.mlp.gate_proj.weight"
    let missing = await Self.refusal {
      try await Self.withDecoder(edit: { $0.removeAll { $0.name == gate } }) { _ in }
    }
    #expect(missing == "model the checkpoint has no tensor \(gate)")
    let shaped = await Self.refusal {
      try await Self.withDecoder(edit: { tensors in
        for index in tensors.indices where tensors[index].name == gate { tensors[index].shape.reverse() }
      }) { _ in }
    }
    #expect(shaped?.contains(gate) == true && shaped?.contains("[80, 48]") == true, "\(shaped ?? "")")
    let template = await Self.refusal {
      try await Self.withDecoder(files: ["tokenizer_config.json": "{"]) { _ in }
    }
    #expect(template?.hasPrefix("model ") == true, "\(template ?? "")")
    // One token more than the weights have vectors.
    var shape = MadeDecoder.Shape.withTokenizer
    shape.vocabulary = 2_001
    let made = try MadeDecoder(shape, tokenizer: "qwen.json")
    let tokens = await Self.refusal { _ = try ModelFolder(directory: made.directory) }
    #expect(tokens == "model tokenizer.json has 2002 tokens, the weights have 2001")
  }

  @Test func aTasksBytesDependOnTheSites() throws {
    let made = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json")
    let found = try ModelInspection(directory: made.directory).taskBytes(rank: 4)
    // Two layers, width 48, queries 64, keys and values 32, feed-forward 80 wide.
    let attention = (48 + 48 + 48 + 64, 64 + 32 + 32 + 48)
    let feedForward = (48 + 48 + 80, 80 + 80 + 48)
    let expected = [
      (48 + 48, 64 + 32), attention, (attention.0 + feedForward.0, attention.1 + feedForward.1),
    ].map { (shared: 4 * 4 * 2 * $0.0, lora: 4 * 4 * 2 * ($0.0 + $0.1)) }
    #expect(found.map(\.shared) == expected.map(\.shared) && found.map(\.lora) == expected.map(\.lora))
    #expect(found[1].sites == ["q_proj", "k_proj", "v_proj", "o_proj"])
    // A rank above what a site has takes what it has.
    let wide = try ModelInspection(directory: made.directory).taskBytes(rank: 1_000)
    #expect(wide[0].shared == 4 * 2 * (48 * 48 + 32 * 48))
  }

  @Test func aFolderIsVerified() throws {
    let made = try MadeDecoder(.withTokenizer, tokenizer: "qwen.json")
    let found = try ModelVerification(directory: made.directory, weights: "bf16")
    #expect(found.model.architecture == "qwen3" && found.weights == "bf16")
    #expect(found.hidden.shape == [16, 48] && found.scores?.shape == [16, 2_048])
    #expect(found.sites.map(\.name) == ModelFamily.decoder.siteKinds.map(ModelFamily.decoder.name(of:)))
    #expect(found.outputDigest.hasPrefix("sha256:"))
    #expect(try ModelVerification(directory: made.directory).outputDigest != found.outputDigest)
    #expect(throws: ServingError.self) { try ModelVerification(directory: made.directory, weights: "f8") }
  }
}
