import Adapters
import Foundation
import Testing
import Tokenizers

@testable import Training

/// Rows of writers as tokens, with a byte-level tokenizer and templates of the families.
struct WriterEncoderTests {
  private static let goldens = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Goldens")
  /// `<|im_end|>`
  private static let end: Int32 = 2

  private static func tokenizer() throws -> Tokenizer {
    try Tokenizer(json: Array(Data(contentsOf: goldens.appending(path: "tokenizers/qwen.json"))))
  }

  private static func encoder(
    template: String? = "qwen2", source: String? = nil, ends: [Int32] = [end]
  ) throws -> WriterEncoder {
    let text = try template.map {
      Array(try Data(contentsOf: goldens.appending(path: "templates/\($0).jinja")))
    }
    let folder = try ChatTemplateFolder(
      configuration: Array(#"{"eos_token":"<|im_end|>","bos_token":"<|endoftext|>"}"#.utf8),
      template: source.map { Array($0.utf8) } ?? text)
    return WriterEncoder(tokenizer: try tokenizer(), chat: folder, ends: ends)
  }

  private static func conversation(_ turns: (ConversationMessage.Role, String)...) -> TrainingExample {
    .conversation(messages: turns.map { ConversationMessage(role: $0, content: $1) })
  }

  private static func written(_ tokens: WriterEncoder.Tokens) throws -> [String] {
    let tokenizer = try tokenizer()
    return tokens.targets.map { tokenizer.decode(tokens.ids[$0], skippingSpecial: false) }
  }

  @Test func aCompletionFollowsItsPromptsOwnTokensAndEnds() throws {
    let encoder = try Self.encoder()
    let tokenizer = try Self.tokenizer()
    for (prompt, completion) in [("The sky is", " blue."), ("a\n", "\nb"), ("re", "ading"), ("", "alone")] {
      let tokens = try encoder.tokens(
        .completion(prompt: prompt, completion: completion), 0, limit: 100)
      let opening = tokenizer.encode(prompt, limit: nil).ids
      #expect(tokens.ids.starts(with: opening), "\(prompt)")
      #expect(tokens.targets == [max(1, opening.count)..<tokens.ids.count])
      #expect(tokenizer.decode(tokens.ids, skippingSpecial: false) == prompt + completion + "<|im_end|>")
    }
    let open = try Self.encoder(ends: []).tokens(
      .completion(prompt: "a", completion: "b"), 0, limit: 9)
    #expect(tokenizer.decode(open.ids, skippingSpecial: false) == "ab")
    let ended = try encoder.tokens(.completion(prompt: "a", completion: "b<|im_end|>"), 0, limit: 9)
    #expect(ended.ids.filter { $0 == Self.end }.count == 1, "it has an end already")
  }

  @Test(arguments: ["qwen2", "smollm", "zephyr"])
  func everyTurnOfTheAssistantIsWritten(_ template: String) throws {
    let tokens = try Self.encoder(template: template).tokens(
      Self.conversation(
        (.user, "Hello"), (.assistant, "Good day."), (.user, "And now?"), (.assistant, "Goodbye."),
        (.user, "never learnt")), 0, limit: 1_000)
    let written = try Self.written(tokens)
    let turns = ["Good day.<|im_end|>", "Goodbye.<|im_end|>"]
    if template == "qwen2" { #expect(written == turns) }
    // A template may leave the end of its opening to the turn.
    #expect(written.count == 2 && zip(written, turns).allSatisfy { $0.hasSuffix($1) }, "\(written)")
    #expect(tokens.targets.last?.upperBound == tokens.ids.count, "nothing behind the last turn")
    let all = try Self.tokenizer().decode(tokens.ids, skippingSpecial: false)
    #expect(all.contains("And now?") && !all.contains("never learnt"))
  }

  @Test func aTemplateWithoutAnEndGetsOne() throws {
    let tokens = try Self.encoder(
      source: "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        + "{% if add_generation_prompt %}assistant:{% endif %}"
    ).tokens(Self.conversation((.user, "a"), (.assistant, "b")), 0, limit: 100)
    #expect(try Self.written(tokens) == [" b\n<|im_end|>"])
  }

  @Test func whatCannotBeTakenApartIsRefusedWithItsRow() throws {
    func refusal(_ encoder: WriterEncoder, _ example: TrainingExample, limit: Int = 100) -> String {
      do {
        _ = try encoder.tokens(example, 4, limit: limit)
        return "taken"
      } catch {
        if case .row(4, let reason) = error { return "row: " + reason }
        if case .setting(let name, let reason) = error { return "\(name): \(reason)" }
        return "\(error)"
      }
    }
    // Qwen3's template takes the thoughts out of earlier turns.
    let two = Self.conversation((.user, "a"), (.assistant, "b"), (.user, "c"), (.assistant, "d"))
    let plain = try Self.encoder()
    let thinking = refusal(try Self.encoder(template: "qwen3"), two)
    #expect(thinking.hasPrefix("row: has a turn (message 4)"), "\(thinking)")
    #expect(refusal(plain, two) == "taken")
    let silent = refusal(plain, Self.conversation((.user, "a")))
    #expect(silent == "row: has no turn of the assistant")
    let raising = refusal(try Self.encoder(source: "{{ raise_exception('no thanks') }}"), two)
    #expect(raising.hasPrefix("row: cannot be rendered: chat template, line 1: no thanks"), "\(raising)")
    let bare = refusal(try Self.encoder(template: nil), two)
    #expect(bare.hasPrefix("data: holds conversations"), "\(bare)")
    let broken = refusal(try Self.encoder(source: "{% nothing %}"), two)
    #expect(broken.hasPrefix("data: holds conversations"), "\(broken)")
    let long = TrainingExample.completion(prompt: "one two three four five six", completion: " x")
    let cut = refusal(plain, long, limit: 3)
    #expect(cut.hasSuffix("max_length is 3"), "\(cut)")
    #expect(throws: TrainingError.self) { try Self.encoder(template: "qwen3").check(two, 0) }
  }

  @Test func whatIsCutIsCountedAndLearntUpToTheCut() throws {
    let tokenizer = try Self.tokenizer()
    let rows = (0..<3).map { _ in
      TrainingExample.completion(prompt: "one", completion: " two three four five six seven")
    }
    let set = try TrainingSet(
      examples: rows, kind: .generation, tokenizer: tokenizer, maxLength: 4, validation: 0, seed: 0,
      writer: try Self.encoder())
    #expect(set.truncatedCount == 3)
    let opening = tokenizer.encode("one", limit: nil).ids.count
    #expect(set.rows.allSatisfy { $0.tokens == 4 && $0.target == .tokens([opening..<4]) })
    #expect(set.rows[0].mass == Float(4 - opening))
    for bad: TrainingExample in [
      .completion(prompt: "a", completion: ""), .completion(prompt: "a", completion: "b", weight: 0),
    ] {
      #expect(throws: TrainingError.self) {
        try TrainingSet.check([rows[0], bad], kind: .generation)
      }
    }
  }
}
