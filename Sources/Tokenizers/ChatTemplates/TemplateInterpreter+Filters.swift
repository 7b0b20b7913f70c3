extension Template.Interpreter {
  mutating func filter(
    _ value: Value, _ name: String, _ arguments: Template.Arguments, _ scope: Scope
  ) throws(ChatTemplateError) -> Value {
    var named: [(name: String, value: Value)] = []
    let positional = try evaluate(arguments.positional, scope)
    for (name, value) in arguments.named { named.append((name, try evaluate(value, scope))) }
    return try filter(value, name, Parameters(positional, named))
  }

  /// Arguments by place or by name.
  struct Parameters {
    let positional: [Value]
    let named: [(name: String, value: Value)]

    init(_ positional: [Value] = [], _ named: [(name: String, value: Value)] = []) {
      self.positional = positional
      self.named = named
    }

    subscript(index: Int, name: String) -> Value? {
      index < positional.count ? positional[index] : named.first { $0.name == name }?.value
    }

    func dropFirst() -> Parameters { Parameters(Array(positional.dropFirst()), named) }
  }

  private mutating func filter(
    _ value: Value, _ name: String, _ arguments: Parameters
  ) throws(ChatTemplateError) -> Value {
    switch name {
    case "default", "d":
      let standard = arguments[0, "default_value"] ?? .string("")
      if case .undefined = value { return standard }
      return arguments[1, "boolean"]?.isTrue == true && !value.isTrue ? standard : value
    case "tojson": return .string(try json(value, arguments))
    case "string": return .string(try text(of: value))
    case "safe": return value
    case "upper", "lower", "capitalize", "title", "trim", "replace", "indent", "escape", "e", "wordcount":
      return try textFilter(try text(of: value), name, arguments)
    case "join":
      let attribute = arguments[1, "attribute"]
      let values = try elements(of: value)
      var parts: [String] = []
      for value in values {
        parts.append(
          try text(of: attribute.map { (a) throws(ChatTemplateError) in try member(value, a) } ?? value))
      }
      let separator = try arguments[0, "d"].map { (v) throws(ChatTemplateError) in try text(of: v) } ?? ""
      try make(bytes: parts.reduce(0) { $0 + $1.utf8.count + separator.utf8.count })
      return .string(parts.joined(separator: separator))
    case "length", "count": return .integer(try count(value))
    case "int", "float", "abs", "round": return try numberFilter(value, name, arguments)
    default: return try listFilter(value, name, arguments)
    }
  }

  private mutating func json(_ value: Value, _ arguments: Parameters) throws(ChatTemplateError) -> String {
    var indent: String?
    switch arguments[1, "indent"] {
    case .integer(let width)?: indent = String(repeating: " ", count: min(max(width, 0), 64))
    case .string(let text)?: indent = text
    case nil, .some(.none): break
    case let other?: throw fault("an indent is a number or a text, not \(other.type)")
    }
    var separators: (String, String)?
    if case .tuple(let pair)? = arguments[2, "separators"], pair.count == 2, case .string(let item) = pair[0],
      case .string(let key) = pair[1]
    {
      separators = (item, key)
    }
    return try json(
      value, indent: indent, itemSeparator: separators?.0, keySeparator: separators?.1,
      sortsKeys: arguments[3, "sort_keys"]?.isTrue ?? false,
      isASCII: arguments[0, "ensure_ascii"]?.isTrue ?? false)
  }

  private mutating func textFilter(
    _ text: String, _ name: String, _ arguments: Parameters
  ) throws(ChatTemplateError) -> Value {
    try make(bytes: text.utf8.count)
    switch name {
    case "upper": return .string(text.uppercased())
    case "lower": return .string(text.lowercased())
    case "capitalize": return .string(TemplateText.capitalized(text))
    case "title":
      return .string(
        TemplateText.title(text) { TemplateText.isSpace($0) || "-([{<".unicodeScalars.contains($0) })
    case "trim":
      guard case .string(let characters)? = arguments[0, "chars"] else {
        return .string(TemplateText.strip(text, nil))
      }
      return .string(TemplateText.strip(text, characters))
    case "replace":
      return try method(.string(text), "replace", arguments.positional, arguments.named)
    case "wordcount":
      return .integer(
        text.unicodeScalars.split { !$0.properties.isAlphabetic && !("0"..."9").contains($0) && $0 != "_" }
          .count)
    case "indent":
      var width = "    "
      if let integer = arguments[0, "width"]?.integer {
        width = String(repeating: " ", count: min(max(integer, 0), 1024))
      }
      if case .string(let given)? = arguments[0, "width"] { width = given }
      let isFirst = arguments[1, "first"]?.isTrue ?? false
      let isBlank = arguments[2, "blank"]?.isTrue ?? false
      // A line end at the end begins a line.
      let lines = TemplateText.lines(text + "\n", keepsEnds: false)
      try make(bytes: text.utf8.count + lines.count * width.utf8.count)
      let indented = lines.enumerated().map { index, line in
        index == 0 || (line.isEmpty && !isBlank) ? line : width + line
      }
      return .string((isFirst ? width : "") + indented.joined(separator: "\n"))
    default:
      var escaped = text
      for (character, entity) in [
        ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ("\"", "&#34;"),
      ] {
        escaped = TemplateText.replace(escaped, character, entity, limit: -1)
      }
      try make(bytes: escaped.utf8.count)
      return .string(escaped)
    }
  }

  private mutating func numberFilter(
    _ value: Value, _ name: String, _ arguments: Parameters
  ) throws(ChatTemplateError) -> Value {
    switch name {
    case "int":
      if let integer = value.integer { return .integer(integer) }
      var number = value.number
      if case .string(let text) = value {
        let text = TemplateText.strip(text, nil)
        if let integer = Int(text) { return .integer(integer) }
        number = Double(text)
      }
      if let number, let integer = Int(exactly: number.rounded(.towardZero)) { return .integer(integer) }
      return arguments[0, "default"] ?? .integer(0)
    case "float":
      if let number = value.number { return .number(number) }
      if case .string(let text) = value, let number = Double(TemplateText.strip(text, nil)) {
        return .number(number)
      }
      return arguments[0, "default"] ?? .number(0)
    case "abs":
      if let integer = value.integer, integer != .min { return .integer(abs(integer)) }
      guard let number = value.number else { throw fault("bad operand type for abs(): '\(value.type)'") }
      return .number(abs(number))
    default:
      guard let number = value.number else {
        throw fault("type \(value.type) doesn't define __round__ method")
      }
      var rule = FloatingPointRoundingRule.toNearestOrEven
      if case .string(let method)? = arguments[1, "method"] {
        rule = method == "ceil" ? .up : method == "floor" ? .down : rule
      }
      var scale = 1.0
      for _ in 0..<min(max(arguments[0, "precision"]?.integer ?? 0, 0), 20) { scale *= 10 }
      return .number((number * scale).rounded(rule) / scale)
    }
  }

  private mutating func listFilter(
    _ value: Value, _ name: String, _ arguments: Parameters
  ) throws(ChatTemplateError) -> Value {
    if name == "items" {
      if case .undefined = value { return .list([]) }
      guard case .map(let map) = value else { throw fault("Can only get item pairs from a mapping.") }
      return try shallow(.list(map.entries.map { .tuple([$0.key, $0.value]) }))
    }
    if name == "reverse", case .string(let text) = value {
      return .string(String(String.UnicodeScalarView(text.unicodeScalars.reversed())))
    }
    let values = try elements(of: value)
    switch name {
    case "list": return .list(values)
    case "first": return values.first ?? .undefined("No first item, sequence was empty.")
    case "last": return values.last ?? .undefined("No last item, sequence was empty.")
    case "reverse": return .list(values.reversed())
    case "sum":
      var total = arguments[1, "start"] ?? .integer(0)
      for value in values {
        let part =
          try arguments[0, "attribute"].map { (a) throws(ChatTemplateError) in try member(value, a) } ?? value
        guard let a = total.number, let b = part.number else { throw fault("sum of what is no number") }
        if let x = total.integer, let y = part.integer {
          total = .integer(x &+ y)
        } else {
          total = .number(a + b)
        }
      }
      return total
    case "min", "max":
      let isCased = arguments[0, "case_sensitive"]?.isTrue ?? false
      var best: (key: Value, value: Value)?
      for value in values {
        try charge(goingThrough: value)
        var key = value
        if case .string(let text) = value, !isCased { key = .string(text.lowercased()) }
        guard let current = best else {
          best = (key, value)
          continue
        }
        if try name == "min" ? isLess(key, current.key) : isLess(current.key, key) { best = (key, value) }
      }
      return best?.value ?? .undefined("No aggregated item, sequence was empty.")
    case "sort", "unique":
      let isCased = arguments[name == "sort" ? 1 : 0, "case_sensitive"]?.isTrue ?? false
      let attribute = arguments[name == "sort" ? 2 : 1, "attribute"]
      var keys: [Value] = []
      for value in values {
        let key = try attribute.map { (a) throws(ChatTemplateError) in try member(value, a) } ?? value
        if case .string(let text) = key, !isCased {
          keys.append(.string(text.lowercased()))
        } else {
          keys.append(key)
        }
      }
      if name == "unique" { return .list(try unique(values, keys)) }
      let pairs = zip(keys, values).map { Value.tuple([$0, $1]) }
      func part(_ pair: Value, _ index: Int) -> Value {
        if case .tuple(let parts) = pair { parts[index] } else { pair }
      }
      var order = try sorted(pairs) { part($0, 0) }
      if arguments[0, "reverse"]?.isTrue ?? false {
        // Equal ones keep their order in reverse too.
        order = Array(try sorted(Array(pairs.reversed())) { part($0, 0) }.reversed())
      }
      return .list(order.map { part($0, 1) })
    case "dictsort":
      guard case .map(let map) = value, arguments.positional.count <= 3 else {
        throw fault("dictsort of what is no mapping")
      }
      let keys = try sorted(values) {
        if case .string(let text) = $0 { .string(text.lowercased()) } else { $0 }
      }
      return try shallow(.list(keys.map { .tuple([$0, map[$0] ?? .none]) }))
    case "map": return .list(try mapped(values, arguments))
    case "select", "reject", "selectattr", "rejectattr":
      var kept: [Value] = []
      let hasAttribute = name.hasSuffix("attr")
      var rest = arguments
      if hasAttribute { rest = rest.dropFirst() }
      for value in values {
        var subject = value
        if hasAttribute {
          guard let attribute = arguments.positional.first else { throw fault("\(name) needs an attribute") }
          subject = try member(value, attribute)
        }
        var isKept = subject.isTrue
        if let test = rest.positional.first {
          guard case .string(let test) = test else { throw fault("a test has a name") }
          isKept = try self.test(subject, test, rest.dropFirst().positional)
        }
        if isKept == name.hasPrefix("select") { kept.append(value) }
      }
      return .list(kept)
    default: throw .unknown(line: line, name: "the filter \(name)")
    }
  }

  private mutating func mapped(_ values: [Value], _ arguments: Parameters) throws(ChatTemplateError)
    -> [Value]
  {
    var result: [Value] = []
    if let attribute = arguments.named.first(where: { $0.name == "attribute" })?.value {
      let standard = arguments.named.first { $0.name == "default" }?.value
      for value in values { result.append(try member(value, attribute, default: standard)) }
      return result
    }
    guard case .string(let name)? = arguments.positional.first else {
      throw fault("map needs a filter or an attribute")
    }
    let rest = arguments.dropFirst()
    return try deeper { (runner) throws(ChatTemplateError) in
      for value in values {
        try runner.charge()
        result.append(try runner.filter(value, name, rest))
      }
      return result
    }
  }

  private mutating func unique(_ values: [Value], _ keys: [Value]) throws(ChatTemplateError) -> [Value] {
    var seen = Set<Template.Map.Key>()
    var result: [Value] = []
    for (value, key) in zip(values, keys) {
      try charge(goingThrough: key)
      guard let key = Template.Map.key(key) else { throw fault("unhashable type: '\(key.type)'") }
      if seen.insert(key).inserted { result.append(value) }
    }
    return result
  }

  /// `a.b.0` of a value, as `attribute` arguments name it.
  private mutating func member(
    _ value: Value, _ attribute: Value, default standard: Value? = nil
  ) throws(ChatTemplateError) -> Value {
    var parts = [attribute]
    if case .string(let path) = attribute {
      parts = TemplateText.split(path, ".", limit: -1).map { part in
        Int(part).map { .integer($0) } ?? .string(part)
      }
    }
    var result = value
    for part in parts {
      result = try item(result, part)
      if case .undefined = result, let standard { result = standard }
    }
    return result
  }

  mutating func count(_ value: Value) throws(ChatTemplateError) -> Int {
    switch value {
    case .string(let text):
      try charge(text.utf8.count)
      return text.unicodeScalars.count
    case .map(let map): return map.entries.count
    case .list(let values), .tuple(let values): return values.count
    case .undefined: return 0
    case .loop(let loop): return loop.items.count
    default: throw fault("object of type '\(value.type)' has no len()")
    }
  }

  /// In order of keys, equal ones as they were: merged from the bottom up, since a comparison may fail.
  mutating func sorted(
    _ values: [Value], by key: (Value) -> Value
  ) throws(ChatTemplateError) -> [Value] {
    var current = values.map { (key: key($0), value: $0) }
    let weight = current.reduce(0) { $0 + Self.weight($1.key) + 64 }
    var width = 1
    while width < current.count {
      try charge(weight)
      var next: [(key: Value, value: Value)] = []
      next.reserveCapacity(current.count)
      for start in stride(from: 0, to: current.count, by: width * 2) {
        let middle = min(start + width, current.count)
        let end = min(middle + width, current.count)
        var (i, j) = (start, middle)
        while i < middle || j < end {
          var takesLeft = i < middle
          if takesLeft, j < end { takesLeft = try !isLess(current[j].key, current[i].key) }
          if takesLeft {
            next.append(current[i])
            i += 1
          } else {
            next.append(current[j])
            j += 1
          }
        }
      }
      current = next
      width *= 2
    }
    return current.map(\.value)
  }
}
