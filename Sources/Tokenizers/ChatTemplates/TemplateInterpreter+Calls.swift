// Tests, functions and methods.
extension Template.Interpreter {
  mutating func test(
    _ value: Value, _ name: String, _ arguments: [Value]
  ) throws(ChatTemplateError) -> Bool {
    func argument(_ runner: Self) throws(ChatTemplateError) -> Value {
      guard let argument = arguments.first else { throw runner.fault("the test \(name) needs an argument") }
      return argument
    }
    switch name {
    case "defined": if case .undefined = value { return false } else { return true }
    case "undefined": if case .undefined = value { return true } else { return false }
    case "none": if case .none = value { return true } else { return false }
    case "string": if case .string = value { return true } else { return false }
    case "mapping": if case .map = value { return true } else { return false }
    case "number": return value.number != nil
    case "integer": if case .integer = value { return true } else { return false }
    case "float": if case .number = value { return true } else { return false }
    case "boolean": if case .bool = value { return true } else { return false }
    case "true": if case .bool(true) = value { return true } else { return false }
    case "false": if case .bool(false) = value { return true } else { return false }
    case "callable":
      switch value {
      case .macro, .function, .method: return true
      default: return false
      }
    case "iterable", "sequence":
      switch value {
      case .string, .list, .tuple, .map, .undefined: return true
      case .loop: return name == "iterable"
      default: return false
      }
    case "odd", "even", "divisibleby":
      let divisor = name == "divisibleby" ? try argument(self).integer : 2
      guard let integer = value.integer, let divisor, divisor != 0 else {
        throw fault("\(name) of what is no integer")
      }
      let isDivided = divisor == -1 || integer % divisor == 0
      return name == "odd" ? !isDivided : isDivided
    case "lower", "upper":
      let text = try text(of: value)
      try charge(text.utf8.count)
      let hasCase = text.unicodeScalars.contains { $0.properties.isCased }
      return hasCase && Value.same(text, name == "lower" ? text.lowercased() : text.uppercased())
    case "sameas":
      let other = try argument(self)
      return value.type == other.type && Value.equal(value, other)
    case "in": return try contains(argument(self), value)
    case "eq", "equalto", "==": return try compare(.equal, value, argument(self))
    case "ne", "!=": return try compare(.notEqual, value, argument(self))
    case "lt", "lessthan", "<": return try compare(.less, value, argument(self))
    case "le", "<=": return try compare(.lessOrEqual, value, argument(self))
    case "gt", "greaterthan", ">": return try compare(.greater, value, argument(self))
    case "ge", ">=": return try compare(.greaterOrEqual, value, argument(self))
    default: throw .unknown(line: line, name: "the test \(name)")
    }
  }

  static let functions: Set<String> = ["range", "dict", "namespace", "raise_exception", "strftime_now"]

  mutating func function(
    _ name: String, _ arguments: [Value], _ named: [(name: String, value: Value)]
  ) throws(ChatTemplateError) -> Value {
    switch name {
    case "raise_exception":
      throw .raised(line: line, message: try text(of: arguments.first ?? named.first?.value ?? .string("")))
    case "strftime_now":
      guard case .string(let format)? = arguments.first ?? named.first?.value else {
        throw fault("strftime_now needs a format")
      }
      try make(bytes: format.utf8.count * 8)
      guard let text = now.formatted(format) else { throw .unknown(line: line, name: "the format \(format)") }
      return .string(text)
    case "range":
      var bounds: [Int] = []
      for argument in arguments {
        guard let integer = argument.integer else {
          throw fault("'\(argument.type)' object cannot be interpreted as an integer")
        }
        bounds.append(integer)
      }
      guard (1...3).contains(bounds.count), bounds.count < 3 || bounds[2] != 0 else {
        throw fault("range takes one to three numbers")
      }
      let (from, to) = bounds.count == 1 ? (0, bounds[0]) : (bounds[0], bounds[1])
      let step = bounds.count == 3 ? bounds[2] : 1
      let length = (Double(to) - Double(from)) / Double(step)
      // The sandbox of the library allows no more either.
      guard length <= 100_000 else {
        throw fault("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).")
      }
      let count = length > 0 ? Int(length.rounded(.up)) : 0
      try charge(count * 16)
      return .list((0..<count).map { .integer(from &+ $0 &* step) })
    default:
      var map = Template.Map([])
      if case .map(let given)? = arguments.first {
        try charge(given.entries.count * 64)
        map = given
      }
      for (name, value) in named { map[.string(name)] = value }
      return name == "dict" ? try shallow(.map(map)) : try namespace(map)
    }
  }

  // MARK: Methods

  static let mapMethods: Set<String> = [
    "items", "keys", "values", "get", "copy", "pop", "update", "clear", "setdefault", "popitem", "fromkeys",
  ]
  static let listMethods: Set<String> = [
    "index", "count", "copy", "append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear",
  ]
  static let textMethods: Set<String> = [
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper", "lower",
    "title",
    "capitalize", "replace", "join", "find", "rfind", "index", "count", "isdigit", "isalpha", "isalnum",
    "isspace",
    "isupper", "islower", "removeprefix", "removesuffix", "zfill", "partition", "rpartition",
  ]

  mutating func method(
    _ object: Value, _ name: String, _ arguments: [Value], _ named: [(name: String, value: Value)]
  ) throws(ChatTemplateError) -> Value {
    switch object {
    case .string(let text): return try textMethod(text, name, Parameters(arguments, named))
    case .map(let map):
      try charge(map.entries.count * 8)
      switch name {
      case "items": return try shallow(.list(map.entries.map { .tuple([$0.key, $0.value]) }))
      case "keys": return .list(map.entries.map(\.key))
      case "values": return .list(map.entries.map(\.value))
      case "copy": return object
      case "get":
        guard let key = arguments.first else { throw fault("get expected at least 1 argument, got 0") }
        return map[key] ?? (arguments.count > 1 ? arguments[1] : .none)
      default: throw fault("access to attribute '\(name)' of 'dict' object is unsafe.")
      }
    case .list(let values), .tuple(let values):
      try charge(goingThrough: object)
      switch name {
      case "copy": return object
      case "index", "count":
        guard let value = arguments.first else { throw fault("\(name) expected 1 argument, got 0") }
        if name == "count" { return .integer(values.count { Value.equal($0, value) }) }
        guard let index = values.firstIndex(where: { Value.equal($0, value) }) else {
          throw fault("value is not in list")
        }
        return .integer(index)
      default: throw fault("access to attribute '\(name)' of 'list' object is unsafe.")
      }
    case .loop(let loop):
      if name == "cycle" {
        guard !arguments.isEmpty else { throw fault("no items for cycling given") }
        return arguments[loop.index % arguments.count]
      }
      for value in arguments { try charge(goingThrough: value) }
      let isSame = loop.lastChanged.map { last in
        last.count == arguments.count && zip(last, arguments).allSatisfy { Value.equal($0, $1) }
      }
      loop.lastChanged = arguments
      return .bool(isSame != true)
    default: throw fault("'\(object.type)' object has no method \(name)")
    }
  }

  private mutating func textMethod(
    _ text: String, _ name: String, _ arguments: Parameters
  ) throws(ChatTemplateError) -> Value {
    try make(bytes: text.utf8.count)
    if case .string(let part)? = arguments.positional.first { try chargeSearch(text, part) }
    for value in arguments.positional.dropFirst() { try charge(goingThrough: value) }
    for case (_, .string(let part)) in arguments.named { try chargeSearch(text, part) }
    func string(_ index: Int, _ parameter: String, _ runner: Self) throws(ChatTemplateError) -> String? {
      switch arguments[index, parameter] {
      case .string(let text)?: return text
      case nil, .some(.none): return nil
      case .undefined(let what)?: throw runner.fault(what)
      case let other?: throw runner.fault("\(name)() needs a str, not \(other.type)")
      }
    }
    func required(_ index: Int, _ parameter: String, _ runner: Self) throws(ChatTemplateError) -> String {
      guard let text = try string(index, parameter, runner) else {
        throw runner.fault("\(name)() needs a str")
      }
      return text
    }
    let scalars = text.unicodeScalars
    switch name {
    case "strip": return .string(TemplateText.strip(text, try string(0, "chars", self)))
    case "lstrip": return .string(TemplateText.strip(text, try string(0, "chars", self), right: false))
    case "rstrip": return .string(TemplateText.strip(text, try string(0, "chars", self), left: false))
    case "upper": return .string(text.uppercased())
    case "lower": return .string(text.lowercased())
    case "capitalize": return .string(TemplateText.capitalized(text))
    case "title": return .string(TemplateText.title(text) { !$0.properties.isCased })
    case "split", "rsplit":
      let separator = try string(0, "sep", self)
      guard separator?.isEmpty != true else { throw fault("empty separator") }
      let limit = arguments[1, "maxsplit"]?.integer ?? -1
      try make(bytes: text.utf8.count * 16)
      guard name == "rsplit", let separator else {
        guard name == "split" || limit < 0 else {
          throw .unknown(line: line, name: "rsplit at white space with a limit")
        }
        return .list(TemplateText.split(text, separator, limit: limit).map { .string($0) })
      }
      return .list(TemplateText.rightSplit(text, separator, limit: limit).map { .string($0) })
    case "partition", "rpartition":
      let separator = try required(0, "sep", self)
      guard !separator.isEmpty else { throw fault("empty separator") }
      let isFirst = name == "partition"
      let parts =
        isFirst
        ? TemplateText.split(text, separator, limit: 1) : TemplateText.rightSplit(text, separator, limit: 1)
      guard parts.count == 2 else {
        let whole: [Value] =
          isFirst ? [.string(text), .string(""), .string("")] : [.string(""), .string(""), .string(text)]
        return .tuple(whole)
      }
      return .tuple([.string(parts[0]), .string(separator), .string(parts[1])])
    case "splitlines":
      return .list(
        TemplateText.lines(text, keepsEnds: arguments[0, "keepends"]?.isTrue ?? false).map { .string($0) })
    case "startswith", "endswith":
      var parts = arguments.positional.prefix(1)
      if case .tuple(let several)? = parts.first { parts = several[...] }
      for part in parts {
        guard case .string(let part) = part else { throw fault("\(name)() needs a str, not \(part.type)") }
        if name == "startswith"
          ? text.utf8.starts(with: part.utf8) : text.utf8.reversed().starts(with: part.utf8.reversed())
        {
          return .bool(true)
        }
      }
      return .bool(false)
    case "replace":
      let (old, new) = (try required(0, "old", self), try required(1, "new", self))
      let limit = arguments[2, "count"]?.integer ?? -1
      let places = old.isEmpty ? text.utf8.count + 1 : text.utf8.count / old.utf8.count
      try make(bytes: min(places * new.utf8.count, .max / 2))
      return .string(TemplateText.replace(text, old, new, limit: limit))
    case "join":
      let values = try elements(of: arguments[0, "iterable"] ?? .none)
      var parts: [String] = []
      for value in values {
        guard case .string(let part) = value else {
          throw fault("sequence item: expected str instance, \(value.type) found")
        }
        parts.append(part)
      }
      try make(bytes: parts.reduce(0) { $0 + $1.utf8.count + text.utf8.count })
      return .string(parts.joined(separator: text))
    case "find", "rfind", "index":
      let part = try required(0, "sub", self)
      var place = TemplateText.find(part, in: text)
      if name == "rfind", !part.isEmpty {
        place = TemplateText.split(text, part, limit: -1).last.flatMap { last in
          place == nil ? nil : text.utf8.count - last.utf8.count - part.utf8.count
        }
      }
      guard let place else {
        if name == "index" { throw fault("substring not found") }
        return .integer(-1)
      }
      return .integer(String(decoding: Array(text.utf8.prefix(place)), as: UTF8.self).unicodeScalars.count)
    case "count":
      let part = try required(0, "sub", self)
      return .integer(part.isEmpty ? scalars.count + 1 : TemplateText.split(text, part, limit: -1).count - 1)
    case "removeprefix":
      let part = try required(0, "prefix", self)
      return .string(
        text.utf8.starts(with: part.utf8) ? String(scalars.dropFirst(part.unicodeScalars.count)) : text)
    case "removesuffix":
      let part = try required(0, "suffix", self)
      let hasIt = !part.isEmpty && text.utf8.reversed().starts(with: part.utf8.reversed())
      return .string(hasIt ? String(scalars.dropLast(part.unicodeScalars.count)) : text)
    case "zfill":
      let width = min(arguments[0, "width"]?.integer ?? 0, 1024)
      let hasSign = scalars.first == "-" || scalars.first == "+"
      let zeros = String(repeating: "0", count: max(0, width - scalars.count))
      return .string(hasSign ? String(scalars.prefix(1)) + zeros + String(scalars.dropFirst()) : zeros + text)
    case "isdigit":
      return .bool(
        !text.isEmpty
          && scalars.allSatisfy {
            $0.properties.numericType == .decimal || $0.properties.numericType == .digit
          })
    case "isalpha": return .bool(!text.isEmpty && scalars.allSatisfy(Self.isLetter))
    case "isalnum":
      return .bool(
        !text.isEmpty && scalars.allSatisfy { Self.isLetter($0) || $0.properties.numericType != nil })
    case "isspace": return .bool(!text.isEmpty && scalars.allSatisfy(TemplateText.isSpace))
    case "isupper": return .bool(try test(.string(text), "upper", []))
    case "islower": return .bool(try test(.string(text), "lower", []))
    default: throw .unknown(line: line, name: "the method \(name)")
    }
  }

  private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
    default: false
    }
  }
}
