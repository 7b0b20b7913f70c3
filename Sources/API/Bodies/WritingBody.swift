internal import Serving

/// `POST /adapters/{task}/infer` of a task that writes.
struct WritingBody: Sendable {
  let prompts: [WritingPrompt]
  /// The one prompt stands in the member itself.
  private let isSingle: Bool
  let options: WritingOptions
  let isStream: Bool

  private static let parameters = [
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "stop", "version",
  ]

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    var prompts: [WritingPrompt] = []
    var isSingle = true
    var options = WritingOptions()
    var isStream = false
    if let body = ObjectDecoder(
      value, pointer: "", allowed: ["inputs", "parameters", "stream"], errors: errors)
    {
      if let value = body.required("inputs") { (prompts, isSingle) = Self.prompts(value, errors) }
      if let value = body.value("parameters"),
        let parameters = ObjectDecoder(
          value, pointer: "/parameters", allowed: Self.parameters, errors: errors)
      {
        options = SamplingFields.options(parameters)
        options.version = parameters.integer("version", in: Limits.version)
      }
      isStream = body.bool("stream") ?? false
      if isStream, prompts.count > 1 { errors.add("/stream", "is for one input", allowed: "false") }
    }
    try errors.check()
    self.prompts = prompts
    self.isSingle = isSingle
    self.options = options
    self.isStream = isStream
  }

  func requests(_ task: String) -> [WritingRequest] {
    prompts.enumerated().map { index, prompt in
      WritingRequest(
        task: task, prompt: prompt, options: options, pointer: isSingle ? "/inputs" : "/inputs/\(index)",
        taskPointer: "task", optionsPointer: "/parameters")
    }
  }

  private static func prompts(
    _ value: JSONValue, _ errors: FieldCollector
  ) -> (prompts: [WritingPrompt], isSingle: Bool) {
    guard case .array(let elements) = value else {
      return (prompt(value, "/inputs", errors).map { [$0] } ?? [], true)
    }
    guard Limits.prompts.contains(elements.count) else {
      errors.add("/inputs", "has \(elements.count) elements", allowed: ObjectDecoder.text(Limits.prompts))
      return ([], false)
    }
    return (elements.enumerated().compactMap { prompt($1, "/inputs/\($0)", errors) }, false)
  }

  /// A text, or `{"messages"}`.
  private static func prompt(
    _ value: JSONValue, _ pointer: String, _ errors: FieldCollector
  ) -> WritingPrompt? {
    switch value {
    case .string(let text): return ObjectDecoder.checked(text, pointer, errors) ? .text(text) : nil
    case .object:
      guard let object = ObjectDecoder(value, pointer: pointer, allowed: ["messages"], errors: errors),
        object.required("messages") != nil, let messages = object.array("messages", count: Limits.messages)
      else { return nil }
      return .conversation(
        Conversation(
          messagesJSON: ChatMessages.json(messages, at: object.pointer("messages"), errors), toolsJSON: nil))
    default:
      errors.add(pointer, "is \(value.typeName), must be a string or an object with messages")
      return nil
    }
  }
}
