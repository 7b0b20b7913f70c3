import Foundation
import Testing
import Tokenizers

/// Prompts against those recorded from Jinja, in the environment that transformers gives chat templates.
struct ChatTemplateGoldenTests {
  static let now = TemplateDate(year: 2026, month: 3, day: 7, hour: 15, minute: 4, second: 5)
  static let families = ["gemma", "llama3", "mistral", "qwen2", "qwen3", "smollm", "zephyr"]

  @Test(arguments: families) func conversationsGiveTheRecordedPrompts(family: String) throws {
    let goldens = try TemplateGoldens()
    let template = try ChatTemplate(String(decoding: TemplateGoldens.file("\(family).jinja"), as: UTF8.self))
    let expected = try #require(goldens.expected[family])
    try #require(expected.count == goldens.conversations.count)
    #expect(expected.count >= 30)
    for (index, messages) in goldens.conversations.enumerated() {
      for (column, (tools, prompt)) in [(false, false), (true, false), (true, true)].enumerated() {
        let context: [(name: String, value: TemplateValue)] = [
          ("messages", messages), ("tools", tools ? goldens.tools : .null), ("documents", .null),
          ("add_generation_prompt", .bool(prompt)), ("bos_token", .string("<s>")),
          ("eos_token", .string("</s>")),
        ]
        let (outcome, shown) = Self.outcome(of: template, context)
        #expect(outcome == expected[index][column], "conversation \(index), column \(column):\n\(shown)")
      }
    }
  }

  /// What is recorded of a prompt, and what to show of it.
  static func outcome(
    of template: ChatTemplate, _ context: [(name: String, value: TemplateValue)]
  ) -> (outcome: String, shown: String) {
    do throws(ChatTemplateError) {
      let text = try template.render(context, now: now)
      return (TokenizerGoldens.digest(text), text)
    } catch {
      guard case .raised(_, let message) = error else { return ("failed", "\(error)") }
      return ("raised:" + TokenizerGoldens.digest(message), "\(error)")
    }
  }

  @Test func smallTemplatesGiveTheRecordedText() throws {
    let goldens = try TemplateGoldens()
    #expect(goldens.snippets.count > 140)
    for snippet in goldens.snippets {
      do {
        let text = try ChatTemplate(snippet.template).render(goldens.context, now: Self.now)
        #expect(
          text.utf8.elementsEqual((snippet.text ?? "an error").utf8),
          "\(snippet.template)\n\(text)\n\(snippet.text ?? "")")
      } catch {
        #expect(snippet.error != nil, "\(snippet.template)\n\(error)\n\(snippet.text ?? "")")
      }
    }
  }
}

/// `Tests/Goldens/templates`.
struct TemplateGoldens {
  struct Snippet: Decodable {
    let template: String
    let text: String?
    let error: String?
  }

  private struct Snippets: Decodable { let snippets: [Snippet] }
  struct Malformed: Error {}

  let tools: TemplateValue
  let conversations: [TemplateValue]
  let context: [(name: String, value: TemplateValue)]
  let snippets: [Snippet]
  /// By template, a row for each conversation.
  var expected: [String: [[String]]] = [:]

  static func file(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: TokenGoldens.root.appending(path: "Tests/Goldens/templates/\(name)")))
  }

  init() throws {
    guard case .object(let members) = try TemplateValue(json: Self.file("conversations.json")),
      members.count == 2, case .list(let conversations) = members[1].value,
      case .object(let file) = try TemplateValue(json: Self.file("snippets.json")),
      case .object(let context) = file[0].value
    else { throw Malformed() }
    tools = members[0].value
    self.conversations = conversations
    self.context = context
    snippets = try JSONDecoder().decode(Snippets.self, from: Data(Self.file("snippets.json"))).snippets
    var name = ""
    for line in String(decoding: try Self.file("expected.txt"), as: UTF8.self).split(separator: "\n")
      .dropFirst()
    {
      if line.hasPrefix("template ") {
        name = String(line.dropFirst(9))
      } else {
        expected[name, default: []].append(line.split(separator: " ").map(String.init))
      }
    }
  }
}
