/// What a template is given: values as JSON has them, members in order.
public enum TemplateValue: Sendable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case list([TemplateValue])
  case object([(name: String, value: TemplateValue)])

  /// Reads a JSON text. Of a name that comes twice the last counts.
  ///
  /// - Throws: `TokenizerError.notJSON`.
  public init(json: [UInt8]) throws(TokenizerError) {
    self.init(try JSONReader.parse(json))
  }

  init(_ json: JSONValue) {
    self =
      switch json {
      case .null: .null
      case .bool(let bool): .bool(bool)
      case .integer(let integer): .integer(integer)
      case .number(let number): .number(number)
      case .string(let bytes): .string(String(decoding: bytes, as: UTF8.self))
      case .array(let elements): .list(elements.map { TemplateValue($0) })
      case .object(let members):
        .object(members.map { (String(decoding: $0.key, as: UTF8.self), TemplateValue($0.value)) })
      }
  }
}

extension Template {
  /// A value while a template runs.
  enum Value {
    /// A name, member or item that is not there, and what it was.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case list([Value])
    case tuple([Value])
    case map(Map)
    case namespace(Namespace)
    case loop(Loop)
    case macro(Macro)
    /// A function by its name.
    case function(String)
    /// A method and what it is of.
    indirect case method(Value, String)

    init(_ value: TemplateValue) {
      self =
        switch value {
        case .null: .none
        case .bool(let bool): .bool(bool)
        case .integer(let integer): .integer(integer)
        case .number(let number): .number(number)
        case .string(let text): .string(text)
        case .list(let elements): .list(elements.map { Value($0) })
        case .object(let members):
          .map(Map(members.map { (.string($0.name), Value($0.value)) }))
        }
    }
  }

  /// An ordered map; keys are told apart as Python does it, texts by their bytes.
  struct Map {
    struct Entry {
      let key: Value
      var value: Value
    }

    private(set) var entries: [Entry]
    private var places: [Key: Int]

    enum Key: Hashable {
      case none
      case number(Double)
      case text([UInt8])
      case list([Key])
    }

    init(_ entries: [(Value, Value)]) {
      self.entries = []
      places = [:]
      for (key, value) in entries { self[key] = value }
    }

    subscript(key: Value) -> Value? {
      get { Self.key(key).flatMap { places[$0] }.map { entries[$0].value } }
      set {
        guard let place = Self.key(key), let newValue else { return }
        if let index = places[place] {
          entries[index].value = newValue
        } else {
          places[place] = entries.count
          entries.append(Entry(key: key, value: newValue))
        }
      }
    }

    /// nil for what can be no key.
    static func key(_ value: Value) -> Key? {
      switch value {
      case .none: return Key.none
      case .bool(let bool): return .number(bool ? 1 : 0)
      case .integer(let integer): return .number(Double(integer))
      case .number(let number): return .number(number)
      case .string(let text): return .text(Array(text.utf8))
      case .tuple(let values):
        var keys: [Key] = []
        for value in values {
          guard let key = key(value) else { return nil }
          keys.append(key)
        }
        return .list(keys)
      default: return nil
      }
    }
  }

  /// The one kind of value that a template may change.
  final class Namespace {
    var map: Map
    init(_ map: Map) { self.map = map }
  }

  /// What `loop` is in the body of a loop.
  final class Loop {
    let items: [Value]
    var index = 0
    var lastChanged: [Value]?

    init(_ items: [Value]) { self.items = items }
  }

  final class Macro {
    let name: String
    let parameters: [(name: String, standard: Expression?)]
    let body: [Statement]
    let scope: Scope

    init(name: String, parameters: [(name: String, standard: Expression?)], body: [Statement], scope: Scope) {
      self.name = name
      self.parameters = parameters
      self.body = body
      self.scope = scope
    }
  }

  /// Names and what they stand for; a block that has its own looks on in the one around it.
  final class Scope {
    private var values: [String: Value] = [:]
    let parent: Scope?

    init(parent: Scope? = nil) { self.parent = parent }

    func find(_ name: String) -> Value? {
      var scope: Scope? = self
      while let current = scope {
        if let value = current.values[name] { return value }
        scope = current.parent
      }
      return nil
    }

    func set(_ name: String, _ value: Value) { values[name] = value }

    func clear() { values = [:] }
  }
}

extension Template.Value {
  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .bool(let bool): bool
    case .integer(let integer): integer != 0
    case .number(let number): number != 0
    case .string(let text): !text.isEmpty
    case .list(let values), .tuple(let values): !values.isEmpty
    case .map(let map): !map.entries.isEmpty
    case .namespace, .loop, .macro, .function, .method: true
    }
  }

  /// The name of the type in Python, for reasons.
  var type: String {
    switch self {
    case .undefined: "Undefined"
    case .none: "NoneType"
    case .bool: "bool"
    case .integer: "int"
    case .number: "float"
    case .string: "str"
    case .list: "list"
    case .tuple: "tuple"
    case .map: "dict"
    case .namespace: "Namespace"
    case .loop: "LoopContext"
    case .macro: "Macro"
    case .function, .method: "function"
    }
  }

  /// The whole number a value is; truth counts as 1 and 0.
  var integer: Int? {
    switch self {
    case .integer(let integer): integer
    case .bool(let bool): bool ? 1 : 0
    default: nil
    }
  }

  var number: Double? {
    if case .number(let number) = self { number } else { integer.map(Double.init) }
  }

  static func same(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

  static func equal(_ a: Self, _ b: Self) -> Bool {
    switch (a, b) {
    case (.undefined, .undefined), (.none, .none): true
    case (.string(let x), .string(let y)): same(x, y)
    case (.list(let x), .list(let y)), (.tuple(let x), .tuple(let y)):
      x.count == y.count && zip(x, y).allSatisfy { equal($0, $1) }
    case (.map(let x), .map(let y)):
      x.entries.count == y.entries.count
        && x.entries.allSatisfy { entry in y[entry.key].map { equal(entry.value, $0) } ?? false }
    case (.namespace(let x), .namespace(let y)): x === y
    case (.macro(let x), .macro(let y)): x === y
    default:
      if let x = a.integer, let y = b.integer {
        x == y
      } else if let x = a.number, let y = b.number {
        x == y
      } else {
        false
      }
    }
  }
}
