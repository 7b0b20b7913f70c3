internal import Serving

/// How embeddings are written in JSON.
enum EmbeddingEncoding: String, CaseIterable, Sendable {
  case float, base64
}

/// `POST /adapters/{task}/infer`.
struct InferenceBody: Sendable {
  let inputs: [InferenceInput]
  let options: InferenceOptions
  let encoding: EmbeddingEncoding

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    var inputs: [InferenceInput] = []
    var options = InferenceOptions()
    var encoding = EmbeddingEncoding.float
    if let body = ObjectDecoder(
      value, pointer: "", allowed: ["inputs", "parameters", "encoding"], errors: errors)
    {
      inputs = Self.inputs(body)
      options = Self.options(body)
      encoding = body.choice("encoding", EmbeddingEncoding.self) ?? .float
    }
    try errors.check()
    self.inputs = inputs
    self.options = options
    self.encoding = encoding
  }

  private static func inputs(_ body: ObjectDecoder) -> [InferenceInput] {
    guard let value = body.required("inputs") else { return [] }
    guard case .array(let elements) = value else {
      return input(value, pointer: "/inputs", body.errors).map { [$0] } ?? []
    }
    guard Limits.inputs.contains(elements.count) else {
      body.errors.add(
        "/inputs", "has \(elements.count) elements", allowed: ObjectDecoder.text(Limits.inputs))
      return []
    }
    var inputs: [InferenceInput] = []
    inputs.reserveCapacity(elements.count)
    for (index, element) in elements.enumerated() {
      if let input = input(element, pointer: "/inputs/" + String(index), body.errors) { inputs.append(input) }
    }
    return inputs
  }

  /// A text, or `{"text", "text_pair"}`.
  static func input(_ value: JSONValue, pointer: String, _ errors: FieldCollector) -> InferenceInput? {
    switch value {
    case .string(let text):
      return ObjectDecoder.checked(text, pointer, errors)
        ? InferenceInput(text: text, pointer: pointer) : nil
    case .object:
      guard
        let object = ObjectDecoder(
          value, pointer: pointer, allowed: ["text", "text_pair"], errors: errors)
      else { return nil }
      let pair = object.text("text_pair", isRequired: false)
      guard let text = object.text("text") else { return nil }
      return InferenceInput(text: text, pair: pair, pointer: pointer)
    default:
      errors.add(pointer, "is \(value.typeName), must be a string or an object with text")
      return nil
    }
  }

  /// `parameters`, all optional.
  static func options(_ body: ObjectDecoder) -> InferenceOptions {
    var options = InferenceOptions()
    guard let value = body.value("parameters"),
      let parameters = ObjectDecoder(
        value, pointer: body.pointer("parameters"), allowed: ["top_k", "version", "truncate", "normalize"],
        errors: body.errors)
    else { return options }
    options.topK = parameters.integer("top_k", in: Limits.topK)
    options.version = parameters.integer("version", in: Limits.version)
    options.truncate = parameters.choice("truncate", Truncation.self) ?? options.truncate
    options.normalize = parameters.bool("normalize") ?? options.normalize
    return options
  }
}

/// `POST /infer`.
struct BatchInferenceBody: Sendable {
  let items: [InferenceItem]
  let encoding: EmbeddingEncoding

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    var items: [InferenceItem] = []
    var encoding = EmbeddingEncoding.float
    if let body = ObjectDecoder(value, pointer: "", allowed: ["items", "encoding"], errors: errors) {
      _ = body.required("items")
      let elements = body.array("items", count: Limits.inputs) ?? []
      items = elements.enumerated().compactMap { Self.item($1, pointer: "/items/\($0)", errors) }
      encoding = body.choice("encoding", EmbeddingEncoding.self) ?? .float
    }
    try errors.check()
    self.items = items
    self.encoding = encoding
  }

  private static func item(
    _ value: JSONValue, pointer: String, _ errors: FieldCollector
  ) -> InferenceItem? {
    guard
      let object = ObjectDecoder(
        value, pointer: pointer, allowed: ["task", "input", "parameters"], errors: errors)
    else { return nil }
    let task = object.name("task", isRequired: true)
    let options = InferenceBody.options(object)
    guard let input = object.required("input"),
      let input = InferenceBody.input(input, pointer: object.pointer("input"), errors), let task
    else { return nil }
    return InferenceItem(task: task, input: input, options: options)
  }
}

/// `POST /adapters/{task}/activate`.
struct ActivationBody: Sendable {
  let version: Int
  let expected: Int?

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    var version: Int?
    var expected: Int?
    if let body = ObjectDecoder(value, pointer: "", allowed: ["version", "expected"], errors: errors) {
      _ = body.required("version")
      version = body.integer("version", in: Limits.version)
      expected = body.integer("expected", in: Limits.version)
    }
    try errors.check()
    self.version = version ?? 0
    self.expected = expected
  }
}
