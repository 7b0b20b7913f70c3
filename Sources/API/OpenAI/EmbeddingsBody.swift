internal import Serving

/// `POST /v1/embeddings`.
struct EmbeddingsBody: Sendable {
  let model: String
  let inputs: InferenceInputs
  let encoding: EmbeddingEncoding

  /// - Parameter width: of the base: the only `dimensions` that there are.
  init(_ value: JSONValue, width: Int) throws(Problem) {
    let errors = FieldCollector()
    var model: String?
    var inputs = InferenceInputs(.list("/input"))
    var encoding = EmbeddingEncoding.float
    let dimensions = UnsupportedField("dimensions", neutral: "\(width)") { $0.number?.integer == width }
    if let body = ObjectDecoder(
      openAI: value, pointer: "", taken: ["model", "input", "encoding_format"], neutral: ["user"],
      unsupported: [dimensions], errors: errors)
    {
      model = body.model()
      if let input = body.required("input") { inputs = Self.inputs(input, errors) }
      encoding = body.choice("encoding_format", EmbeddingEncoding.self) ?? .float
    }
    try errors.check()
    self.model = model ?? ""
    self.inputs = inputs
    self.encoding = encoding
  }

  private static func inputs(_ value: JSONValue, _ errors: FieldCollector) -> InferenceInputs {
    guard case .array(let elements) = value else {
      var inputs = InferenceInputs(.member("/input"))
      append(value, "/input", errors, to: &inputs)
      return inputs
    }
    var inputs = InferenceInputs(.list("/input"))
    if elements.first?.number != nil {
      errors.add("/input", "holds token ids", allowed: "texts")
    } else if !Limits.inputs.contains(elements.count) {
      errors.add("/input", "has \(elements.count) elements", allowed: ObjectDecoder.text(Limits.inputs))
    } else {
      for (index, element) in elements.enumerated() {
        append(element, "/input/\(index)", errors, to: &inputs)
      }
    }
    return inputs
  }

  private static func append(
    _ value: JSONValue, _ pointer: String, _ errors: FieldCollector, to inputs: inout InferenceInputs
  ) {
    switch value {
    case .string(let text): if ObjectDecoder.checked(text, pointer, errors) { inputs.append(text) }
    case .array: errors.add(pointer, "holds token ids", allowed: "a text")
    default: errors.add(pointer, "is \(value.typeName), must be a string")
    }
  }
}
