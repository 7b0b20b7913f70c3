internal import Serving

/// `POST /v1/chat/completions`.
struct ChatBody: Sendable {
  let model: String
  let conversation: Conversation
  let options: WritingOptions
  let isStream: Bool
  let includesUsage: Bool

  private static let unsupported = [
    SamplingFields.one,
    UnsupportedField("response_format", neutral: #"{"type": "text"}"#) {
      $0 == .object([JSONMember("type", .string("text"))])
    },
    UnsupportedField("modalities", neutral: #"["text"]"#) { $0.array == [.string("text")] },
    UnsupportedField("audio"), UnsupportedField("prediction"), UnsupportedField("reasoning_effort"),
    UnsupportedField("verbosity"), UnsupportedField("web_search_options"), UnsupportedField("functions"),
    UnsupportedField("function_call"),
    UnsupportedField("parallel_tool_calls", neutral: "true") { $0.bool == true },
  ]

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    guard
      let body = ObjectDecoder(
        openAI: value, pointer: "",
        taken: SamplingFields.names
          + ["messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice"],
        neutral: SamplingFields.neutral, unsupported: Self.unsupported, errors: errors)
    else { throw Problem(.validation(errors.errors)) }
    model = body.model() ?? ""
    _ = body.required("messages")
    let messages = ChatMessages.json(body.array("messages", count: Limits.messages) ?? [], errors)
    let tools = ChatTools.json(body)
    conversation = Conversation(messagesJSON: messages, toolsJSON: tools)
    var options = SamplingFields.options(body)
    if let most = body.integer("max_completion_tokens", in: Limits.maxTokens) {
      if let other = options.maxTokens, other != most {
        errors.add("/max_tokens", "differs from max_completion_tokens")
      }
      options.maxTokens = most
    }
    options.logProbabilities = Self.logProbabilities(body)
    self.options = options
    (isStream, includesUsage) = SamplingFields.stream(body)
    try errors.check()
  }

  private static func logProbabilities(_ body: ObjectDecoder) -> Int? {
    let isAsked = body.bool("logprobs") ?? false
    let count = body.integer("top_logprobs", in: Limits.chatLogProbabilities)
    if count != nil, !isAsked {
      body.errors.add("/top_logprobs", "needs logprobs", allowed: "logprobs: true")
    }
    return isAsked ? count ?? 0 : nil
  }
}

/// The tools of a chat, as they go to its template.
enum ChatTools {
  /// A JSON array; nil without tools, or where none is to be called.
  static func json(_ body: ObjectDecoder) -> String? {
    let choice = body.value("tool_choice")
    if let choice, !["auto", "none"].contains(choice.string) {
      body.errors.add("/tool_choice", "is not supported", allowed: "auto, none")
    }
    guard body.has("tools"), let tools = body.array("tools", count: Limits.tools) else {
      if choice?.string == "auto", !body.has("tools") {
        body.errors.add("/tool_choice", "needs tools", allowed: "none")
      }
      return nil
    }
    var writer = JSONWriter()
    writer.array(tools.enumerated()) { writer, tool in
      check(tool.element, "/tools/\(tool.offset)", body.errors)
      writer.value(tool.element)
    }
    return choice?.string == "none" ? nil : String(decoding: writer.bytes, as: UTF8.self)
  }

  private static func check(_ value: JSONValue, _ pointer: String, _ errors: FieldCollector) {
    guard
      let tool = ObjectDecoder(openAI: value, pointer: pointer, taken: ["type", "function"], errors: errors)
    else { return }
    if tool.required("type") != nil, let type = tool.string("type"), type != "function" {
      errors.add(pointer + "/type", "is not supported", allowed: "function")
    }
    guard let value = tool.required("function"),
      let function = ObjectDecoder(
        openAI: value, pointer: pointer + "/function", taken: ["name", "description", "parameters"],
        neutral: [], unsupported: [UnsupportedField("strict", neutral: "false") { $0.bool == false }],
        errors: errors)
    else { return }
    if let name = function.text("name", limitBytes: 64), !isName(name) {
      errors.add(pointer + "/function/name", "is not a name", allowed: "[A-Za-z0-9_-]{1,64}")
    }
    _ = function.string("description")
    if let parameters = function.value("parameters") {
      guard case .object = parameters else {
        return function.wrongType("parameters", parameters, "an object")
      }
    }
  }

  static func isName(_ name: String) -> Bool {
    (1...64).contains(name.utf8.count)
      && name.utf8.allSatisfy {
        Names.isLetterOrDigit($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
      }
  }
}
