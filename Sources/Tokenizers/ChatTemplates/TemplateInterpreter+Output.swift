extension Template.Interpreter {
  /// What a value is in the prompt: Python's `str`.
  mutating func text(of value: Value) throws(ChatTemplateError) -> String {
    switch value {
    case .string(let text): return text
    case .undefined: return ""
    default: return try representation(value)
    }
  }

  /// Python's `repr`.
  mutating func representation(_ value: Value) throws(ChatTemplateError) -> String {
    var writer = Writer(style: .python)
    try write(value, &writer, 0)
    return writer.text
  }

  /// Python's `json.dumps`, without escapes beyond those JSON asks for.
  mutating func json(
    _ value: Value, indent: String?, itemSeparator: String?, keySeparator: String?, sortsKeys: Bool,
    isASCII: Bool
  ) throws(ChatTemplateError) -> String {
    var writer = Writer(style: .json)
    writer.indent = indent
    writer.itemSeparator = itemSeparator ?? (indent == nil ? ", " : ",")
    writer.keySeparator = keySeparator ?? ": "
    writer.sortsKeys = sortsKeys
    writer.isASCII = isASCII
    try write(value, &writer, 0)
    return writer.text
  }

  struct Writer {
    enum Style { case python, json }

    let style: Style
    var text = ""
    var indent: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false
    var isASCII = false

    init(style: Style) { self.style = style }
  }

  private mutating func write(
    _ value: Value, _ writer: inout Writer, _ level: Int
  ) throws(ChatTemplateError) {
    try charge()
    guard writer.text.utf8.count <= limits.outputBytes else {
      throw .tooMuchText(line: line, limitBytes: limits.outputBytes)
    }
    let isJSON = writer.style == .json
    switch value {
    case .none: writer.text += isJSON ? "null" : "None"
    case .bool(let bool): writer.text += isJSON ? (bool ? "true" : "false") : (bool ? "True" : "False")
    case .integer(let integer): writer.text += String(integer)
    case .number(let number):
      if isJSON, !number.isFinite {
        writer.text += number.isNaN ? "NaN" : number < 0 ? "-Infinity" : "Infinity"
      } else {
        writer.text += TemplateText.number(number)
      }
    case .string(let text):
      try charge(text.utf8.count)
      writer.text += isJSON ? Self.quoted(text, isASCII: writer.isASCII) : TemplateText.representation(text)
    case .list(let values), .tuple(let values):
      if !isJSON, case .tuple = value {
        try write(values.map { (nil, $0) }, "(", values.count == 1 ? ",)" : ")", &writer, level)
      } else {
        try write(values.map { (nil, $0) }, "[", "]", &writer, level)
      }
    case .map(let map):
      var entries = map.entries.map { (Value?.some($0.key), $0.value) }
      if writer.sortsKeys {
        let keys = try sorted(entries.map { $0.0 ?? .none }, by: { $0 })
        entries = keys.map { ($0, map[$0] ?? .none) }
      }
      try write(entries, "{", "}", &writer, level)
    case .undefined(let what):
      guard !isJSON else { throw fault("Object of type Undefined is not JSON serializable: \(what)") }
      writer.text += "Undefined"
    case .namespace, .loop, .macro, .function, .method:
      guard !isJSON else { throw fault("Object of type \(value.type) is not JSON serializable") }
      throw fault("a \(value.type) has no text")
    }
  }

  private mutating func write(
    _ entries: [(key: Value?, value: Value)], _ open: String, _ close: String, _ writer: inout Writer,
    _ level: Int
  ) throws(ChatTemplateError) {
    writer.text += open
    func newLine(_ writer: inout Writer, _ level: Int) {
      guard let indent = writer.indent else { return }
      writer.text += "\n" + String(repeating: indent, count: level)
    }
    for (index, entry) in entries.enumerated() {
      try charge(
        (writer.indent?.utf8.count ?? 0) * (level + 1) + writer.itemSeparator.utf8.count
          + writer.keySeparator.utf8.count)
      if index > 0 { writer.text += writer.itemSeparator }
      newLine(&writer, level + 1)
      if let key = entry.key {
        if writer.style == .json {
          try write(jsonKey(key), &writer, level + 1)
        } else {
          try write(key, &writer, level + 1)
        }
        writer.text += writer.keySeparator
      }
      try write(entry.value, &writer, level + 1)
    }
    if !entries.isEmpty { newLine(&writer, level) }
    writer.text += close
  }

  private mutating func jsonKey(_ key: Value) throws(ChatTemplateError) -> Value {
    switch key {
    case .string: key
    case .none: .string("null")
    case .bool(let bool): .string(bool ? "true" : "false")
    case .integer, .number: .string(try representation(key))
    default: throw fault("keys must be str, int, float, bool or None, not \(key.type)")
    }
  }

  private static func quoted(_ text: String, isASCII: Bool) -> String {
    var result = String.UnicodeScalarView(["\""])
    func add(_ text: String) { result.append(contentsOf: text.unicodeScalars) }
    func unit(_ value: UInt32) {
      let digits = String(value, radix: 16)
      add("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
    }
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x22: add("\\\"")
      case 0x5C: add("\\\\")
      case 0x0A: add("\\n")
      case 0x0D: add("\\r")
      case 0x09: add("\\t")
      case 0x08: add("\\b")
      case 0x0C: add("\\f")
      case 0..<0x20: unit(scalar.value)
      case 0x7F... where isASCII:
        for part in String(scalar).utf16 { unit(UInt32(part)) }
      default: result.append(scalar)
      }
    }
    result.append("\"")
    return String(result)
  }
}
