internal import Serving

/// How embeddings are written in JSON.
enum EmbeddingEncoding: String, CaseIterable, Sendable {
  case float, base64
}

/// `POST /adapters/{task}/infer`.
struct InferenceBody: Sendable {
  let inputs: InferenceInputs
  let options: InferenceOptions
  let encoding: EmbeddingEncoding

  init(_ bytes: [UInt8]) throws(Problem) {
    if let plain = JSONReader.read(bytes, textsOf: "inputs"), Limits.inputs.contains(plain.texts.count),
      plain.texts.allSatisfy({ (1...Limits.textBytes).contains($0.count) })
    {
      let inputs = InferenceInputs(bytes: plain.bytes, texts: plain.texts)
      if plain.rest.isEmpty {
        self.init(inputs)
      } else {
        try self.init(.object(plain.rest), inputs)
      }
    } else {
      try self.init(try Call.parse(bytes), nil)
    }
  }

  /// Inputs and nothing else.
  private init(_ inputs: InferenceInputs) {
    self.inputs = inputs
    options = InferenceOptions()
    encoding = .float
  }

  /// - Parameter inputs: those that were taken out of `value` and are good.
  private init(_ value: JSONValue, _ inputs: InferenceInputs?) throws(Problem) {
    let errors = FieldCollector()
    var inputs = inputs
    var options = InferenceOptions()
    var encoding = EmbeddingEncoding.float
    if let body = ObjectDecoder(
      value, pointer: "", allowed: ["inputs", "parameters", "encoding"], errors: errors)
    {
      if inputs == nil { inputs = Self.inputs(body) }
      options = Self.options(body)
      encoding = body.choice("encoding", EmbeddingEncoding.self) ?? .float
    }
    try errors.check()
    self.inputs = inputs ?? InferenceInputs()
    self.options = options
    self.encoding = encoding
  }

  private static func inputs(_ body: ObjectDecoder) -> InferenceInputs? {
    guard let value = body.required("inputs") else { return nil }
    guard case .array(let elements) = value else {
      var inputs = InferenceInputs(.member("/inputs"))
      input(value, pointer: "/inputs", body.errors, into: &inputs)
      return inputs
    }
    guard Limits.inputs.contains(elements.count) else {
      body.errors.add(
        "/inputs", "has \(elements.count) elements", allowed: ObjectDecoder.text(Limits.inputs))
      return nil
    }
    var inputs = InferenceInputs()
    for (index, element) in elements.enumerated() {
      input(element, pointer: "/inputs/\(index)", body.errors, into: &inputs)
    }
    return inputs
  }

  /// A text, or `{"text", "text_pair"}`.
  static func input(
    _ value: JSONValue, pointer: String, _ errors: FieldCollector, into inputs: inout InferenceInputs
  ) {
    switch value {
    case .string(let text):
      if ObjectDecoder.checked(text, pointer, errors) { inputs.append(text) }
    case .object:
      guard
        let object = ObjectDecoder(
          value, pointer: pointer, allowed: ["text", "text_pair"], errors: errors)
      else { return }
      let pair = object.text("text_pair", isRequired: false)
      if let text = object.text("text") { inputs.append(text, pair: pair) }
    default: errors.add(pointer, "is \(value.typeName), must be a string or an object with text")
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
  let inputs: InferenceInputs
  let encoding: EmbeddingEncoding

  init(_ value: JSONValue) throws(Problem) {
    let errors = FieldCollector()
    var items: [InferenceItem] = []
    var inputs = InferenceInputs(.list("/items", member: "input"))
    var encoding = EmbeddingEncoding.float
    if let body = ObjectDecoder(value, pointer: "", allowed: ["items", "encoding"], errors: errors) {
      _ = body.required("items")
      let elements = body.array("items", count: Limits.inputs) ?? []
      for (index, element) in elements.enumerated() {
        if let item = Self.item(element, pointer: "/items/\(index)", errors, into: &inputs) {
          items.append(item)
        }
      }
      encoding = body.choice("encoding", EmbeddingEncoding.self) ?? .float
    }
    try errors.check()
    self.items = items
    self.inputs = inputs
    self.encoding = encoding
  }

  private static func item(
    _ value: JSONValue, pointer: String, _ errors: FieldCollector, into inputs: inout InferenceInputs
  ) -> InferenceItem? {
    guard
      let object = ObjectDecoder(
        value, pointer: pointer, allowed: ["task", "input", "parameters"], errors: errors)
    else { return nil }
    let task = object.name("task", isRequired: true)
    let options = InferenceBody.options(object)
    if let input = object.required("input") {
      InferenceBody.input(input, pointer: object.pointer("input"), errors, into: &inputs)
    }
    return task.map { InferenceItem(task: $0, options: options) }
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
