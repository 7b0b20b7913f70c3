internal import Serving

/// `POST /v1/completions`.
struct CompletionBody: Sendable {
  let model: String
  let prompts: [WritingPrompt]
  /// The one prompt stands in the member itself.
  let isSingle: Bool
  let options: WritingOptions
  let isStream: Bool
  let includesUsage: Bool

  /// OpenAI's default of this route alone.
  static let usualTokens = 16

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    guard
      let body = ObjectDecoder(
        openAI: value, pointer: "", taken: SamplingFields.names + ["prompt"], neutral: SamplingFields.neutral,
        unsupported: [
          SamplingFields.one,
          UnsupportedField("best_of", neutral: "1") { $0.number?.integer == 1 },
          UnsupportedField("echo", neutral: "false") { $0.bool == false },
          UnsupportedField("suffix", neutral: "absent or empty") { $0.string?.isEmpty == true },
        ], errors: errors)
    else { throw Problem(.validation(errors.errors)) }
    model = body.model() ?? ""
    var prompts: [WritingPrompt] = []
    var isSingle = true
    if let value = body.required("prompt") { (prompts, isSingle) = Self.prompts(value, errors) }
    self.prompts = prompts
    self.isSingle = isSingle
    var options = SamplingFields.options(body)
    options.maxTokens = options.maxTokens ?? Self.usualTokens
    options.logProbabilities = body.integer("logprobs", in: Limits.logProbabilities)
    self.options = options
    (isStream, includesUsage) = SamplingFields.stream(body)
    try errors.check()
  }

  func pointer(_ prompt: Int) -> String { isSingle ? "/prompt" : "/prompt/\(prompt)" }

  /// A text, token ids, or a list of either.
  private static func prompts(
    _ value: JSONValue, _ errors: FieldCollector
  ) -> (prompts: [WritingPrompt], isSingle: Bool) {
    guard case .array(let elements) = value else {
      return (prompt(value, "/prompt", errors).map { [$0] } ?? [], true)
    }
    if elements.first?.number != nil {
      return (prompt(value, "/prompt", errors).map { [$0] } ?? [], true)
    }
    guard Limits.prompts.contains(elements.count) else {
      errors.add("/prompt", "has \(elements.count) elements", allowed: ObjectDecoder.text(Limits.prompts))
      return ([], false)
    }
    if elements.contains(where: { $0.typeName != elements.first?.typeName }) {
      errors.add(
        "/prompt", "holds elements of several types", allowed: "texts, or token ids, or lists of them")
      return ([], false)
    }
    return (elements.enumerated().compactMap { prompt($1, "/prompt/\($0)", errors) }, false)
  }

  private static func prompt(
    _ value: JSONValue, _ pointer: String, _ errors: FieldCollector
  ) -> WritingPrompt? {
    switch value {
    case .string(let text): return ObjectDecoder.checked(text, pointer, errors) ? .text(text) : nil
    case .array(let ids):
      guard Limits.promptTokens.contains(ids.count) else {
        errors.add(pointer, "has \(ids.count) token ids", allowed: ObjectDecoder.text(Limits.promptTokens))
        return nil
      }
      var tokens: [Int32] = []
      tokens.reserveCapacity(ids.count)
      for (index, id) in ids.enumerated() {
        guard let token = id.number?.integer, Limits.tokenID.contains(token) else {
          errors.add("\(pointer)/\(index)", "is not a token id", allowed: ObjectDecoder.text(Limits.tokenID))
          return nil
        }
        tokens.append(Int32(token))
      }
      return .tokens(tokens)
    default:
      errors.add(pointer, "is \(value.typeName), must be a string or token ids")
      return nil
    }
  }
}
