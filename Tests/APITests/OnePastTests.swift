import Foundation
import HTTPWire
import Testing

@testable import API
@testable import Serving

/// Every field of every request body, one past what the contract allows: refused by its pointer alone. The cases are
/// made from `openapi.yaml`, so that a field or a limit that is added there is tried here.
@Suite struct OnePastTests {
  /// A body that is accepted and has every field (of one alternative, where fields exclude one another).
  private static let bodies: [(target: String, schema: String, body: String)] = [
    (
      "/adapters/tickets/infer", "InferRequest",
      #"{"inputs":[{"text":"a","text_pair":"b"}],"parameters":{"top_k":1,"version":1,"truncate":"end","normalize":true},"encoding":"float"}"#
    ),
    ("/adapters/tickets/infer", "InferRequest", #"{"inputs":["a"]}"#),
    ("/adapters/tickets/infer", "InferRequest", #"{"inputs":"a"}"#),
    (
      "/infer", "BatchInferRequest",
      #"{"items":[{"task":"a","input":{"text":"a","text_pair":"b"},"parameters":{"top_k":1,"version":1,"truncate":"end","normalize":true}}],"encoding":"float"}"#
    ),
    ("/adapters/tickets/activate", "Activation", #"{"version":1,"expected":1}"#),
    (
      "/train", "TrainRequest",
      #"{"task":"t","kind":"classification","method":"cora","data":{"examples":[{"text":"a","text_pair":"b","label":"x","weight":1}]},"subspace":"default","activate":"always","from":"t@1","rank":8,"alpha":16,"sites":["query"],"epochs":1,"batch_size":2,"learning_rate":0.1,"head_learning_rate":0.1,"basis_learning_rate":0.1,"schedule":"linear","warmup":0,"weight_decay":0,"clip_norm":1,"dropout":0,"max_length":16,"validation":0,"seed":1,"pooling":"mean","head_dense":"none","temperature":1,"recompute":false}"#
    ),
    ("/train", "TrainRequest", #"{"task":"t","data":{"dataset":"ds_1"}}"#),
    ("/train", "TrainRequest", #"{"task":"t","data":{"examples":[{"text":"a","labels":["x"],"weight":1}]}}"#),
    ("/train", "TrainRequest", #"{"task":"t","data":{"examples":[{"text":"a","value":1}]}}"#),
    (
      "/train", "TrainRequest",
      #"{"task":"t","data":{"examples":[{"anchor":"a","positive":"b","negative":"c"}]}}"#
    ),
    (
      "/train", "TrainRequest",
      #"{"task":"t","data":{"examples":[{"prompt":"a","completion":"b","weight":1}]}}"#
    ),
    (
      "/train", "TrainRequest",
      #"{"task":"t","data":{"examples":[{"messages":[{"role":"assistant","content":"a"}],"weight":1}]}}"#
    ),
    (
      "/v1/embeddings", "EmbeddingsRequest",
      #"{"model":"base","input":["a"],"encoding_format":"float","dimensions":4,"user":"u"}"#
    ),
    ("/v1/embeddings", "EmbeddingsRequest", #"{"model":"base","input":"a"}"#),
    (
      "/v1/fine_tuning/jobs", "FineTuningRequest",
      #"{"model":"base","training_file":"ds_1","suffix":"t","seed":1,"hyperparameters":{"n_epochs":1,"batch_size":2,"learning_rate_multiplier":1},"metadata":{},"validation_file":null,"integrations":[]}"#
    ),
    (
      "/v1/fine_tuning/jobs", "FineTuningRequest",
      #"{"model":"base","training_file":"ds_1","method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":1}},"dpo":null,"reinforcement":null}}"#
    ),
    ("/v1/completions", "CompletionRequest", completion(#""a""#)),
    ("/v1/completions", "CompletionRequest", completion(#"["a"]"#)),
    ("/v1/completions", "CompletionRequest", completion("[1]")),
    ("/v1/completions", "CompletionRequest", completion("[[1]]")),
    (
      "/v1/chat/completions", "ChatRequest",
      chat(
        #"{"role":"user","content":"a","name":"n","annotations":[],"refusal":null,"audio":null,"function_call":null}"#
      )
    ),
    (
      "/v1/chat/completions", "ChatRequest",
      chat(
        #"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#
      )
    ),
    (
      "/v1/chat/completions", "ChatRequest",
      chat(#"{"role":"tool","content":[{"type":"text","text":"a"}],"tool_call_id":"c"}"#)
    ),
    (
      "/subspaces", "SubspaceRequest",
      #"{"name":"s","source":"weights","checkpoints":["base"],"scope":"site","rank":8,"center":true,"seed":1,"default":false}"#
    ),
    ("/subspaces", "SubspaceRequest", #"{"name":"s","source":"adapters","versions":["a@1"]}"#),
  ]

  /// Rows to write are for a decoder.
  private static func node(_ text: String) -> StubNode {
    let writes = text.contains(#"[{"prompt""#) || text.contains(#"[{"messages""#)
    return StubNode(
      writers: [ScriptedWriter([.end(.stop, WritingUsage(promptTokens: 1, writtenTokens: 0))])],
      base: writes ? StubNode.decoder : StubNode.encoder)
  }

  private static let sampling =
    #""model":"base","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},"max_tokens":1,"temperature":0,"top_p":1,"top_k":1,"min_p":0,"repetition_penalty":1,"presence_penalty":0,"frequency_penalty":0,"logit_bias":{"1":1},"seed":1,"stop":["a"],"user":"u","metadata":{},"store":false,"service_tier":"auto","safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h","n":1"#

  private static func completion(_ prompt: String) -> String {
    #"{\#(sampling),"prompt":\#(prompt),"logprobs":1,"best_of":1,"echo":false,"suffix":""}"#
  }

  private static func chat(_ message: String) -> String {
    #"{\#(sampling),"messages":[\#(message)],"max_completion_tokens":1,"logprobs":true,"top_logprobs":1,"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{},"strict":false}}],"tool_choice":"auto","response_format":{"type":"text"},"modalities":["text"],"audio":null,"prediction":null,"reasoning_effort":null,"verbosity":null,"web_search_options":null,"functions":null,"function_call":null,"parallel_tool_calls":true}"#
  }

  private static func contract() async throws -> JSONValue {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("openapi.yaml")
    let yaml = try String(contentsOf: file, encoding: .utf8)
    return try JSONReader.read(try await ContractDocument(yaml: yaml).json())
  }

  @Test func everyFieldIsRefusedOnePastItsLimit() async throws {
    let root = try await Self.contract()
    var fields: [String: Set<String>] = [:]
    var count = 0
    for (target, schema, text) in Self.bodies {
      let body = try JSONReader.read(Array(text.utf8))
      let good = try await handler(Self.node(text)).send(.post, target, text)
      #expect(good.status < 300, "\(target): \(good.text)")
      var cases = Cases(root: root, body: body)
      cases.walk(.object([JSONMember("$ref", .string("#/components/schemas/\(schema)"))]), [])
      fields[schema, default: []].formUnion(cases.fields)
      for (pointer, what, body) in cases.found {
        count += 1
        let answer = try await handler(Self.node(text)).send(.post, target, bytes: body.text, [])
        let named = answer.pointers.contains { $0 == pointer || $0.hasPrefix(pointer + "/") || pointer == "" }
        #expect(
          answer.status == 422 && named, "\(target) \(pointer) \(what): \(answer.status) \(answer.text)")
      }
    }
    // No field of a request's schema is left out of the bodies above.
    for (schema, seen) in fields {
      let known = Cases(root: root, body: .null).names(schema)
      #expect(known.subtracting(seen) == [], "\(schema)")
    }
    #expect(count > 300)
  }
}

/// Walks a body beside its schema and makes the bodies that are wrong in one place.
private struct Cases {
  let root: JSONValue
  let body: JSONValue
  var found: [(pointer: String, what: String, body: JSONValue)] = []
  /// Names of the members that were met.
  var fields: Set<String> = []

  init(root: JSONValue, body: JSONValue) {
    self.root = root
    self.body = body
  }

  private func resolved(_ schema: JSONValue) -> JSONValue {
    guard let reference = schema["$ref"]?.string else { return schema }
    var found = root
    for name in reference.split(separator: "/").dropFirst() { found = found[String(name)] ?? .null }
    return found
  }

  /// All member names of a schema's objects, the alternatives' too.
  func names(_ schema: String) -> Set<String> {
    var names: Set<String> = []
    func collect(_ given: JSONValue) {
      let schema = resolved(given)
      if case .object(let properties)? = schema["properties"] {
        for property in properties {
          names.insert(property.name)
          collect(property.value)
        }
      }
      for part in (schema["anyOf"]?.array ?? []) + (schema["oneOf"]?.array ?? []) { collect(part) }
      if let items = schema["items"] { collect(items) }
    }
    collect(.object([JSONMember("$ref", .string("#/components/schemas/\(schema)"))]))
    return names
  }

  /// - Parameter orNull: null is another alternative.
  mutating func walk(_ given: JSONValue, _ path: [String], orNull: Bool = false) {
    let schema = resolved(given)
    let value = path.reduce(body) { $0.child($1) }
    let parts = (schema["anyOf"]?.array ?? []) + (schema["oneOf"]?.array ?? [])
    if !parts.isEmpty {
      // The alternative that the body has: the one with its type, and with its members.
      guard let fitting = parts.map(resolved).first(where: { fits(value, $0) }) else { return }
      return walk(fitting, path, orNull: parts.contains { $0["type"]?.string == "null" })
    }
    for keyword in schema.members { refuse(keyword.name, keyword.value, path, orNull: orNull) }
    switch value {
    case .object(let members):
      if schema["additionalProperties"]?.bool == false {
        put(.object(members + [JSONMember("never heard of", .null)]), "unknown member", path)
      }
      for name in schema["required"]?.array?.compactMap(\.string) ?? [] {
        put(.object(members.filter { $0.name != name }), "no \(name)", path)
      }
      for member in members {
        fields.insert(member.name)
        if let property = schema["properties"]?[member.name] { walk(property, path + [member.name]) }
      }
    case .array: if let items = schema["items"] { walk(items, path + ["0"]) }
    default: break
    }
  }

  private func fits(_ value: JSONValue, _ schema: JSONValue) -> Bool {
    switch value {
    case .string: return schema["type"]?.string == "string" && schema["enum"] == nil
    case .number: return ["number", "integer"].contains(schema["type"]?.string)
    case .array(let elements):
      guard schema["type"]?.string == "array" else { return false }
      guard let first = elements.first, let items = schema["items"].map(resolved) else { return true }
      return items["anyOf"] != nil || items["properties"] != nil || fits(first, items)
    case .object(let members):
      if let parts = schema["anyOf"]?.array { return parts.map(resolved).contains { fits(value, $0) } }
      let known = Set(schema["properties"]?.members.map(\.name) ?? [])
      let required = Set(schema["required"]?.array?.compactMap(\.string) ?? [])
      let names = Set(members.map(\.name))
      return names.isSubset(of: known) && required.isSubset(of: names)
    default: return false
    }
  }

  private mutating func refuse(_ keyword: String, _ limit: JSONValue, _ path: [String], orNull: Bool) {
    func number(_ text: String) -> JSONValue { JSONNumber(text).map(JSONValue.number) ?? .null }
    let double = limit.number?.double ?? 0
    let whole = limit.number?.text ?? ""
    switch keyword {
    case "type":
      let types = limit.array?.compactMap(\.string) ?? [limit.string ?? ""]
      if !orNull, !types.contains("null") { put(.null, "null", path) }
      put(types.contains("array") ? .bool(true) : .array([.array([])]), "another type", path)
      if types.contains("integer") { put(number("1.5"), "a fraction", path) }
    case "maximum", "exclusiveMaximum":
      // 2^64 - 1 has a next whole number that no double has.
      let next = whole == "18446744073709551615" ? "18446744073709551616" : "\(double * 1.001 + 1)"
      put(number(keyword == "maximum" ? next : whole), keyword, path)
      put(number("1e400"), "beyond every float", path)
    case "minimum": put(number("\(double - double.magnitude * 0.001 - 1)"), keyword, path)
    case "exclusiveMinimum": put(number(whole), keyword, path)
    case "enum": put(.string("never heard of"), keyword, path)
    case "pattern": put(.string("-not a name@"), keyword, path)
    case "minLength": put(.string(""), keyword, path)
    case "maxLength":
      put(.string(String(repeating: "a", count: (limit.number?.integer ?? 0) + 1)), keyword, path)
    case "minItems": put(.array([]), keyword, path)
    case "maxItems":
      let element = path.reduce(body) { $0.child($1) }.child("0")
      put(.array(Array(repeating: element, count: (limit.number?.integer ?? 0) + 1)), keyword, path)
    case "uniqueItems":
      let element = path.reduce(body) { $0.child($1) }.child("0")
      put(.array([element, element]), keyword, path)
    case "not": if let text = limit["const"]?.string { put(.string(text), keyword, path) }
    default: break
    }
  }

  private mutating func put(_ value: JSONValue, _ what: String, _ path: [String]) {
    found.append(
      (path.map { "/" + JSONPointer.escaped($0) }.joined(), what, body.replacing(path[...], value)))
  }
}

extension JSONValue {
  fileprivate var members: [JSONMember] {
    if case .object(let members) = self { members } else { [] }
  }

  fileprivate func child(_ name: String) -> JSONValue {
    if case .array(let elements) = self { return elements.first ?? .null }
    return self[name] ?? .null
  }

  fileprivate func replacing(_ path: ArraySlice<String>, _ value: JSONValue) -> JSONValue {
    guard let name = path.first else { return value }
    switch self {
    case .object(let members):
      return .object(
        members.map {
          $0.name == name ? JSONMember(name, $0.value.replacing(path.dropFirst(), value)) : $0
        })
    case .array(let elements):
      return .array([child(name).replacing(path.dropFirst(), value)] + elements.dropFirst())
    default: return self
    }
  }

  fileprivate var text: [UInt8] {
    var writer = JSONWriter()
    write(self, &writer)
    return writer.bytes
  }

  private func write(_ value: JSONValue, _ writer: inout JSONWriter) {
    switch value {
    case .null: writer.null()
    case .bool(let flag): writer.value(flag)
    case .number(let number): writer.raw(number.text)
    case .string(let text): writer.value(text)
    case .array(let elements): writer.array(elements) { write($1, &$0) }
    case .object(let members):
      writer.object { writer in
        for member in members {
          writer.name(member.name)
          write(member.value, &writer)
        }
      }
    }
  }
}
