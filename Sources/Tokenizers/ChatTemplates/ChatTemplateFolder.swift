/// The chat templates and special tokens that a model's folder names.
public struct ChatTemplateFolder: Sendable {
  /// `tokenizer_config.json` is far smaller.
  public static let limitBytes = 16 << 20

  /// Source of the template that is used unless another is asked for; nil where the folder has none.
  public let source: String?
  /// Sources by name, such as `tool_use`, in the order of the file.
  public let named: [(name: String, source: String)]
  /// `bos_token`, `eos_token` and the others that templates print, by the names they have there.
  public let specialTokens: [(name: String, text: String)]

  /// - Parameters:
  ///   - configuration: `tokenizer_config.json`; nil where there is none.
  ///   - template: `chat_template.jinja`, which goes before what the configuration has; nil where there is none.
  /// - Throws: `TokenizerError.inConfiguration`.
  public init(configuration: [UInt8]?, template: [UInt8]?) throws(TokenizerError) {
    var source = template.map { String(decoding: $0, as: UTF8.self) }
    var named: [(name: String, source: String)] = []
    var tokens: [(name: String, text: String)] = []
    if let configuration {
      do throws(TokenizerError) {
        guard configuration.count <= Self.limitBytes else {
          throw .tooLarge(bytes: configuration.count, limitBytes: Self.limitBytes)
        }
        let root = try JSONMember(path: "the file", value: JSONReader.parse(configuration))
        if let member = try root.optional("chat_template") {
          if case .array = member.value {
            for element in try member.elements() {
              named.append((try element.member("name").text(), try element.member("template").text()))
            }
            source = source ?? named.first { $0.name == "default" }?.source
          } else {
            let text = try member.text()
            source = source ?? text
          }
        }
        tokens = try Self.tokens(root)
      } catch {
        throw .inConfiguration(error)
      }
    }
    self.source = source
    self.named = named
    specialTokens = tokens
  }

  private static func tokens(_ root: JSONMember) throws(TokenizerError) -> [(name: String, text: String)] {
    var tokens: [(name: String, text: String)] = []
    for (key, value) in try root.members() {
      let name = String(decoding: key, as: UTF8.self)
      guard name.hasSuffix("_token") else { continue }
      // A text, or an added token with its flags; flags such as `add_bos_token` are neither.
      switch value {
      case .string(let text): tokens.append((name, String(decoding: text, as: UTF8.self)))
      case .object:
        tokens.append((name, try JSONMember(path: name, value: value).member("content").text()))
      default: continue
      }
    }
    return tokens
  }

  /// The source for a conversation: the one for tools where there are some and the folder has it.
  public func source(withTools: Bool) -> String? {
    withTools ? named.first { $0.name == "tool_use" }?.source ?? source : source
  }

  /// What templates are given for a conversation, as transformers names it.
  ///
  /// - Parameters:
  ///   - messages: a list of objects; members that are null are left out, since templates take them for text.
  ///   - extra: what else the template reads, such as `enable_thinking`; goes before all other names.
  public func context(
    messages: TemplateValue, tools: TemplateValue?, addsGenerationPrompt: Bool,
    extra: [(name: String, value: TemplateValue)] = []
  ) -> [(name: String, value: TemplateValue)] {
    var messages = messages
    if case .list(let list) = messages {
      messages = .list(
        list.map { message in
          guard case .object(let members) = message else { return message }
          return .object(members.filter { if case .null = $0.value { false } else { true } })
        })
    }
    var context: [(name: String, value: TemplateValue)] = specialTokens.map { ($0.name, .string($0.text)) }
    context += [
      ("messages", messages), ("tools", tools ?? .null), ("documents", .null),
      ("add_generation_prompt", .bool(addsGenerationPrompt)),
    ]
    return context + extra
  }
}
