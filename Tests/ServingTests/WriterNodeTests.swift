import Adapters
import Foundation
import Models
import Testing
import Training

@testable import Serving

/// Tasks that write, trained on a small random decoder.
@Suite(.serialized) struct WriterNodeTests {
  private static let chat = [
    "tokenizer_config.json":
      #"{"eos_token":"<|im_end|>","chat_template":"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"}"#,
    "generation_config.json": #"{"eos_token_id":[2,0]}"#,
  ]

  private static func figure(_ name: String, _ json: String?) throws -> Double {
    let object = try JSONSerialization.jsonObject(with: Data((json ?? "{}").utf8)) as? [String: Any]
    return try #require(object?[name] as? Double, "\(name) of \(json ?? "")")
  }

  @Test(arguments: ["cora", "cora-init", "lora"])
  func aWriterHasItsFiguresAndNoHead(_ method: String) async throws {
    try await DecoderNodeTests.withDecoder { node in
      let job = try await DecoderNodeTests.learn(node, .generation, method: method)
      #expect(job.state == .succeeded, "\(job.error?.detail ?? "")")
      #expect(job.settingsJSON.contains(#""recompute":true"#))
      let loss = try Self.figure("validation_loss", job.metricsJSON)
      let perplexity = try Self.figure("perplexity", job.metricsJSON)
      #expect(abs(perplexity / exp(loss) - 1) < 1e-12)
      let (events, _) = try await node.events(of: job.id, after: 0, waitMilliseconds: 0)
      let epochs = events.filter { $0.kind == "epoch" }
      #expect(epochs.count == 8)
      let losses = try epochs.map { try Self.figure("training_loss", $0.dataJSON) }
      #expect(try #require(losses.last) < losses[0], "\(losses)")
      let task = try await node.task("generation-\(method)")
      #expect(task.kind == .generation && task.labels.isEmpty && task.active?.sites.count == 14)
      let refused = await DecoderNodeTests.refusal {
        _ = try await node.infer(
          task: "generation-\(method)", inputs: InferenceInputs(["a"]), options: InferenceOptions(),
          timeoutMilliseconds: nil, principal: .anonymous)
      }
      #expect(refused?.hasPrefix("task is of kind generation") == true, "\(refused ?? "")")
    }
  }

  @Test func aPausedWriterGoesOnToTheSameBytes() async throws {
    try await DecoderNodeTests.withDecoder { node in
      let whole = try await DecoderNodeTests.learn(node, .generation, task: "whole") { $0.epochs = 60 }
      #expect(whole.state == .succeeded)
      let job = try await DecoderNodeTests.start(node, .generation, task: "paused") { $0.epochs = 60 }
      var state = try await node.job(job.id)
      while state.state == .queued { state = try await node.job(job.id) }
      do {
        let paused = try await node.pause(job: job.id)
        #expect(paused.state == .paused)
        _ = try await node.resume(job: job.id)
      } catch ServingError.jobState(let state) {
        Issue.record("the job had ended (\(state)) before it could be paused")
      }
      let end = try await node.finished(job.id)
      #expect(end.state == .succeeded)
      let (first, second) = try await (node.version(1, of: "whole"), node.version(1, of: "paused"))
      #expect(first.digest == second.digest)
    }
  }

  @Test func onlyALesserLossTakesThePlaceOfTheActiveVersion() async throws {
    try await DecoderNodeTests.withDecoder { node in
      func learn(_ rate: Float) async throws -> Int? {
        let job = try await DecoderNodeTests.learn(
          node, .generation, task: "writer", activate: .ifBetter
        ) {
          $0.learningRate = rate
          $0.epochs = 4
        }
        #expect(job.state == .succeeded, "\(job.error?.detail ?? "")")
        return try await node.task("writer").activeVersion
      }
      let first = try await learn(1e-9)
      #expect(first == 1)
      let better = try await learn(5e-3)
      #expect(better == 2)
      let worse = try await learn(1e-9)
      #expect(worse == 2)
    }
  }

  @Test func conversationsAreLearntThroughTheFoldersTemplate() async throws {
    let rows = DecoderNodeTests.rows(.generation).compactMap { row -> TrainingExample? in
      guard case .completion(let prompt, let completion, _) = row else { return nil }
      return .conversation(messages: [
        ConversationMessage(role: .user, content: prompt),
        ConversationMessage(role: .assistant, content: completion),
      ])
    }
    try await DecoderNodeTests.withDecoder(files: Self.chat) { node in
      let job = try await DecoderNodeTests.learn(node, .generation, rows: rows)
      #expect(job.state == .succeeded, "\(job.error?.detail ?? "")")
      let cut = try await DecoderNodeTests.learn(node, .generation, rows: rows) { $0.maxLength = 5 }
      #expect(cut.state == .failed && cut.error?.code == "invalid-row", "\(cut.error?.detail ?? "")")
      let silent: [TrainingExample] = [
        rows[0], .conversation(messages: [ConversationMessage(role: .user, content: "a")]),
      ]
      await #expect {
        _ = try await DecoderNodeTests.learn(node, .generation, rows: silent)
      } throws: { error in
        guard case .invalidRow(2, _) = error as? ServingError else { return false }
        return true
      }
    }
    try await DecoderNodeTests.withDecoder { node in
      let bare = await DecoderNodeTests.refusal {
        _ = try await DecoderNodeTests.learn(node, .generation, rows: rows)
      }
      #expect(bare?.hasPrefix("/data holds conversations") == true, "\(bare ?? "")")
    }
  }

  @Test func anEncoderDoesNotWrite() async throws {
    try await withNode { node in
      let settings = TrainingSettings.defaults(kind: .generation, method: "cora", on: .encoder)
      let refused = await DecoderNodeTests.refusal {
        _ = try await node.train(
          TrainingRequest(
            task: "writer", data: .examples(DecoderNodeTests.rows(.generation)), settings: settings,
            subspace: nil, activate: .always, from: nil, idempotencyKey: nil, requestDigest: ""),
          principal: .anonymous)
      }
      #expect(
        refused?.hasPrefix("/kind is generation, but the base is an encoder") == true, "\(refused ?? "")")
    }
  }
}
