internal import Serving

/// The messages of a chat, as they go to its template.
enum ChatMessages {
  enum Role: String, CaseIterable {
    case system, developer, user, assistant, tool

    /// Templates know the older name alone.
    var name: String { self == .developer ? Role.system.rawValue : rawValue }
  }

  /// A JSON array; what is wrong goes to the collector.
  static func json(
    _ messages: [JSONValue], at pointer: String = "/messages", _ errors: FieldCollector
  ) -> String {
    var writer = JSONWriter()
    writer.array(messages.enumerated()) { writer, message in
      write(message.element, "\(pointer)/\(message.offset)", errors, &writer)
    }
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  private static func write(
    _ value: JSONValue, _ pointer: String, _ errors: FieldCollector, _ writer: inout JSONWriter
  ) {
    guard
      let message = ObjectDecoder(
        openAI: value, pointer: pointer, taken: ["role", "content", "name", "tool_calls", "tool_call_id"],
        neutral: ["annotations"],
        unsupported: [
          UnsupportedField("refusal"), UnsupportedField("audio"), UnsupportedField("function_call"),
        ], errors: errors)
    else { return writer.null() }
    _ = message.required("role")
    let role = message.choice("role", Role.self) ?? .user
    let calls = calls(message, role, errors)
    let content = content(message, isOptional: role == .assistant && calls != nil, errors)
    if role == .assistant, !message.has("content"), !message.has("tool_calls") {
      errors.add(message.pointer("tool_calls"), "is missing", allowed: "content or tool_calls")
    }
    let name = message.text("name", isRequired: false, limitBytes: 64)
    if role != .tool, message.has("tool_call_id") {
      errors.add(pointer + "/tool_call_id", "is for messages of role tool")
    }
    let callID = message.text("tool_call_id", isRequired: role == .tool, limitBytes: Limits.tokenBytes)
    writer.object { writer in
      writer.member("role", role.name)
      writer.member("content", content)
      if let name { writer.member("name", name) }
      if let callID { writer.member("tool_call_id", callID) }
      if let calls { writer.member("tool_calls", raw: calls) }
    }
  }

  /// A text, or text parts, which are one text without anything between them.
  private static func content(
    _ message: ObjectDecoder, isOptional: Bool, _ errors: FieldCollector
  ) -> String? {
    guard let value = isOptional ? message.value("content") : message.required("content") else { return nil }
    let pointer = message.pointer("content")
    var text = ""
    switch value {
    case .string(let whole): text = whole
    case .array(let parts) where Limits.contentParts.contains(parts.count):
      for (index, part) in parts.enumerated() { text += self.part(part, "\(pointer)/\(index)", errors) ?? "" }
    case .array(let parts):
      errors.add(pointer, "has \(parts.count) parts", allowed: ObjectDecoder.text(Limits.contentParts))
    default: message.wrongType("content", value, "a string or text parts")
    }
    return isShort(text, pointer, errors) ? text : nil
  }

  private static func isShort(_ text: String, _ pointer: String, _ errors: FieldCollector) -> Bool {
    let count = text.utf8.count
    if count > Limits.textBytes {
      errors.add(pointer, "has \(count) bytes", allowed: "at most \(Limits.textBytes) bytes")
    }
    return count <= Limits.textBytes
  }

  private static func part(_ value: JSONValue, _ pointer: String, _ errors: FieldCollector) -> String? {
    if let type = value["type"]?.string, type != "text" {
      errors.add(pointer + "/type", "\"\(type.prefix(64))\" is not supported", allowed: "text")
      return nil
    }
    guard let part = ObjectDecoder(openAI: value, pointer: pointer, taken: ["type", "text"], errors: errors)
    else { return nil }
    if part.required("type") != nil { _ = part.string("type") }
    guard part.required("text") != nil, let text = part.string("text") else { return nil }
    return isShort(text, part.pointer("text"), errors) ? text : nil
  }

  /// The calls of an assistant's message as JSON, their arguments as the object that their text holds.
  private static func calls(
    _ message: ObjectDecoder, _ role: Role, _ errors: FieldCollector
  ) -> String? {
    guard message.has("tool_calls") else { return nil }
    let pointer = message.pointer("tool_calls")
    if role != .assistant { errors.add(pointer, "is for messages of role assistant") }
    guard let calls = message.array("tool_calls", count: Limits.toolCalls) else { return nil }
    var writer = JSONWriter()
    writer.array(calls.enumerated()) { writer, call in
      write(call: call.element, "\(pointer)/\(call.offset)", errors, &writer)
    }
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  private static func write(
    call value: JSONValue, _ pointer: String, _ errors: FieldCollector, _ writer: inout JSONWriter
  ) {
    guard
      let call = ObjectDecoder(
        openAI: value, pointer: pointer, taken: ["id", "type", "function"], errors: errors)
    else { return writer.null() }
    let id = call.text("id", limitBytes: Limits.tokenBytes)
    if call.required("type") != nil, let type = call.string("type"), type != "function" {
      errors.add(pointer + "/type", "is not supported", allowed: "function")
    }
    guard let value = call.required("function"),
      let function = ObjectDecoder(
        openAI: value, pointer: pointer + "/function", taken: ["name", "arguments"], errors: errors)
    else { return writer.null() }
    let name = function.text("name", limitBytes: 64)
    if let name, !ChatTools.isName(name) {
      errors.add(pointer + "/function/name", "is not a name", allowed: "[A-Za-z0-9_-]{1,64}")
    }
    var arguments = JSONValue.object([])
    if let text = function.text("arguments") {
      if let value = try? JSONReader.read(Array(text.utf8)), case .object = value {
        arguments = value
      } else {
        errors.add(pointer + "/function/arguments", "is not the text of a JSON object")
      }
    }
    writer.object { writer in
      writer.member("id", id)
      writer.member("type", "function")
      writer.name("function")
      writer.object {
        $0.member("name", name)
        $0.name("arguments")
        $0.value(arguments)
      }
    }
  }
}
