import Foundation

@testable import API

/// JSON Schema 2020-12 as far as the contract uses it; a keyword that it does not know is a fault, not a pass.
struct SchemaValidator: Sendable {
  let root: JSONValue

  /// Words that say nothing about a value.
  private static let notes: Set<String> = [
    "description", "example", "examples", "default", "contentEncoding", "contentMediaType", "title",
  ]

  func resolved(_ value: JSONValue) -> JSONValue {
    guard let reference = value["$ref"]?.string else { return value }
    var found: JSONValue? = root
    for name in reference.split(separator: "/").dropFirst() { found = found?[String(name)] }
    return found ?? .null
  }

  func faults(_ value: JSONValue, _ given: JSONValue, at place: String) -> [String] {
    let schema = resolved(given)
    guard case .object(let keywords) = schema else { return ["\(place): no schema"] }
    var faults: [String] = []
    func require(_ holds: Bool, _ what: String) {
      if !holds { faults.append("\(place): \(value.brief) \(what)") }
    }
    for keyword in keywords {
      let wanted = keyword.value
      switch keyword.name {
      case "type":
        let types = wanted.array?.compactMap(\.string) ?? [wanted.string ?? ""]
        require(types.contains { value.has(type: $0) }, "is not of type \(types)")
      case "enum": require(wanted.array?.contains { value.equals($0) } == true, "is not in the enumeration")
      case "const": require(value.equals(wanted), "is not the constant")
      case "anyOf", "oneOf":
        let each = (wanted.array ?? []).map { self.faults(value, $0, at: place) }
        let fitting = each.count { $0.isEmpty }
        if keyword.name == "oneOf" ? fitting != 1 : fitting == 0 {
          require(false, "fits \(fitting) of \(keyword.name): \(each)")
        }
      case "allOf": for part in wanted.array ?? [] { faults += self.faults(value, part, at: place) }
      case "not": require(!self.faults(value, wanted, at: place).isEmpty, "fits what it must not")
      case "required":
        guard case .object = value else { continue }
        for name in wanted.array?.compactMap(\.string) ?? [] {
          require(value[name] != nil, "lacks \(name)")
        }
      case "properties":
        for property in wanted.members {
          if let member = value[property.name] {
            faults += self.faults(member, property.value, at: "\(place)/\(property.name)")
          }
        }
      case "additionalProperties":
        let known = Set(schema["properties"]?.members.map(\.name) ?? [])
        for member in value.members where !known.contains(member.name) {
          if case .bool(let isAllowed) = wanted {
            require(isAllowed, "has the unknown member \(member.name)")
          } else {
            faults += self.faults(member.value, wanted, at: "\(place)/\(member.name)")
          }
        }
      case "items":
        for (index, element) in (value.array ?? []).enumerated() {
          faults += self.faults(element, wanted, at: "\(place)/\(index)")
        }
      case "minItems": require(value.array.map { $0.count >= wanted.int } ?? true, "has too few elements")
      case "maxItems": require(value.array.map { $0.count <= wanted.int } ?? true, "has too many elements")
      case "uniqueItems":
        let elements = value.array ?? []
        let isUnique = elements.indices.allSatisfy { index in
          !elements[..<index].contains { $0.equals(elements[index]) }
        }
        require(isUnique, "holds an element twice")
      case "minLength":
        require(value.string.map { $0.unicodeScalars.count >= wanted.int } ?? true, "is too short")
      case "maxLength":
        require(value.string.map { $0.unicodeScalars.count <= wanted.int } ?? true, "is too long")
      case "pattern":
        let holds = value.string.map { $0.range(of: wanted.string ?? "", options: .regularExpression) != nil }
        require(holds ?? true, "does not match the pattern")
      case "minimum": require(value.number.map { $0.double >= wanted.double } ?? true, "is too small")
      case "maximum": require(value.number.map { $0.double <= wanted.double } ?? true, "is too large")
      case "exclusiveMinimum": require(value.number.map { $0.double > wanted.double } ?? true, "is too small")
      case "exclusiveMaximum": require(value.number.map { $0.double < wanted.double } ?? true, "is too large")
      case "format":
        if wanted.string == "date-time" {
          let form = #"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"#
          let holds = value.string.map { $0.range(of: form, options: .regularExpression) != nil }
          require(holds ?? true, "is no RFC 3339 time in UTC")
        }
      case let name: if !Self.notes.contains(name) { require(false, "meets the unknown keyword \(name)") }
      }
    }
    return faults
  }
}

extension JSONValue {
  fileprivate func has(type: String) -> Bool {
    switch (type, self) {
    case ("null", .null), ("boolean", .bool), ("string", .string), ("array", .array), ("object", .object),
      ("number", .number):
      true
    case ("integer", .number(let number)): number.double == number.double.rounded()
    default: false
    }
  }

  fileprivate func equals(_ other: JSONValue) -> Bool {
    if case (.number(let left), .number(let right)) = (self, other) { return left.double == right.double }
    return self == other
  }

  fileprivate var int: Int { number?.integer ?? 0 }
  fileprivate var double: Double { number?.double ?? .nan }

  fileprivate var brief: String { String("\(self)".prefix(120)) }
}
