internal import Serving

/// The refused fields of one request. One decoding owns it.
final class FieldCollector {
  private(set) var errors: [FieldError] = []

  func add(_ pointer: String, _ detail: String, allowed: String? = nil) {
    if errors.count < Limits.fieldErrors { errors.append(FieldError(pointer, detail, allowed: allowed)) }
  }

  func check() throws(Problem) {
    if !errors.isEmpty { throw Problem(.validation(errors)) }
  }

  /// The errors so far in one sentence, and a fresh start: for rows, which have lines instead of pointers.
  func drain() -> String? {
    guard !errors.isEmpty else { return nil }
    defer { errors = [] }
    return errors.map { error in
      let name = error.pointer.isEmpty ? "the row" : error.pointer.dropFirst()
      return "\(name) \(error.detail)" + (error.allowed.map { " (\($0))" } ?? "")
    }.joined(separator: "; ")
  }
}

/// A closed object: members by name and type; what is wrong goes to the collector.
struct ObjectDecoder {
  private let members: [JSONMember]
  private let base: String
  let errors: FieldCollector

  /// nil where the value is no object.
  ///
  /// - Parameter nullIsAbsent: a member that is null counts as one that is not there, if its name is known.
  init?(
    _ value: JSONValue, pointer: String, allowed: [String], errors: FieldCollector, nullIsAbsent: Bool = false
  ) {
    guard case .object(let members) = value else {
      errors.add(pointer, "is \(value.typeName), must be an object")
      return nil
    }
    self.members = nullIsAbsent ? members.filter { $0.value != .null } : members
    base = pointer
    self.errors = errors
    for member in members where !allowed.contains(where: { $0.utf8.elementsEqual(member.name.utf8) }) {
      errors.add(
        self.pointer(member.name), "is not known",
        allowed: allowed.isEmpty ? "no member" : allowed.joined(separator: ", "))
    }
  }

  func pointer(_ name: String) -> String { base + "/" + JSONPointer.escaped(name) }

  func has(_ name: String) -> Bool { value(name) != nil }

  func value(_ name: String) -> JSONValue? {
    members.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
  }

  /// The member, or an error where there is none.
  func required(_ name: String) -> JSONValue? {
    guard let value = value(name) else {
      errors.add(pointer(name), "is missing")
      return nil
    }
    return value
  }

  func wrongType(_ name: String, _ value: JSONValue, _ wanted: String) {
    errors.add(pointer(name), "is \(value.typeName), must be \(wanted)")
  }

  func string(_ name: String) -> String? {
    guard let value = value(name) else { return nil }
    if case .string(let text) = value { return text }
    wrongType(name, value, "a string")
    return nil
  }

  /// A text that is not empty and not too long.
  func text(_ name: String, isRequired: Bool = true, limitBytes: Int = Limits.textBytes) -> String? {
    if isRequired, required(name) == nil { return nil }
    guard let text = string(name) else { return nil }
    return Self.checked(text, pointer(name), errors, limitBytes: limitBytes) ? text : nil
  }

  static func checked(
    _ text: String, _ pointer: String, _ errors: FieldCollector, limitBytes: Int = Limits.textBytes
  ) -> Bool {
    let count = text.utf8.count
    if count == 0 {
      errors.add(pointer, "is empty", allowed: "1 through \(limitBytes) bytes")
    } else if count > limitBytes {
      errors.add(pointer, "has \(count) bytes", allowed: "1 through \(limitBytes) bytes")
    }
    return count > 0 && count <= limitBytes
  }

  /// A name by the pattern.
  func name(_ name: String, isRequired: Bool) -> String? {
    if isRequired, required(name) == nil { return nil }
    guard let text = string(name) else { return nil }
    if Names.isValid(text) { return text }
    errors.add(pointer(name), "is not a name", allowed: Names.pattern)
    return nil
  }

  func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
    guard let value = value(name) else { return nil }
    guard case .number(let number) = value, let integer = number.integer else {
      errors.add(pointer(name), "must be a whole number", allowed: Self.text(range))
      return nil
    }
    if range.contains(integer) { return integer }
    errors.add(pointer(name), "is \(integer)", allowed: Self.text(range))
    return nil
  }

  static func text(_ range: ClosedRange<Int>) -> String {
    range.upperBound == .max
      ? "\(range.lowerBound) or more" : "\(range.lowerBound) through \(range.upperBound)"
  }

  func float(_ name: String, magnitude: Float = .greatestFiniteMagnitude) -> Float? {
    guard let value = value(name) else { return nil }
    guard case .number(let number) = value else {
      wrongType(name, value, "a number")
      return nil
    }
    if number.float.magnitude <= magnitude { return number.float }
    errors.add(pointer(name), "is too large", allowed: "-\(magnitude) through \(magnitude)")
    return nil
  }

  func bool(_ name: String) -> Bool? {
    guard let value = value(name) else { return nil }
    if case .bool(let flag) = value { return flag }
    wrongType(name, value, "true or false")
    return nil
  }

  func array(_ name: String, count: ClosedRange<Int>) -> [JSONValue]? {
    guard let value = value(name) else { return nil }
    guard case .array(let elements) = value else {
      wrongType(name, value, "an array")
      return nil
    }
    if count.contains(elements.count) { return elements }
    errors.add(pointer(name), "has \(elements.count) elements", allowed: Self.text(count))
    return nil
  }

  func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ name: String, _ type: Choice.Type
  ) -> Choice? {
    guard let text = string(name) else { return nil }
    if let choice = Choice(rawValue: text), choice.rawValue.utf8.elementsEqual(text.utf8) { return choice }
    errors.add(
      pointer(name), "is not known", allowed: Choice.allCases.map(\.rawValue).joined(separator: ", "))
    return nil
  }
}

/// The query's items by name.
struct QueryDecoder {
  private var items: [(name: String, value: String)] = []
  private let errors: FieldCollector

  init(_ query: [(name: String, value: String)], allowed: [String], errors: FieldCollector) {
    self.errors = errors
    for item in query {
      if !allowed.contains(item.name) {
        errors.add(
          item.name, "is not known",
          allowed: allowed.isEmpty ? "no query" : allowed.joined(separator: ", "))
      } else if items.contains(where: { $0.name == item.name }) {
        errors.add(item.name, "is given twice")
      } else {
        items.append(item)
      }
    }
  }

  func string(_ name: String) -> String? {
    guard let text = items.first(where: { $0.name == name })?.value else { return nil }
    if text.isEmpty || text.utf8.count > Limits.tokenBytes {
      errors.add(name, "has \(text.utf8.count) bytes", allowed: "1 through \(Limits.tokenBytes) bytes")
      return nil
    }
    return text
  }

  func integer(_ name: String, in range: ClosedRange<Int>) -> Int? {
    guard let text = items.first(where: { $0.name == name })?.value else { return nil }
    if !text.isEmpty, text.utf8.allSatisfy(isDigit), let integer = Int(text), range.contains(integer) {
      return integer
    }
    errors.add(name, "must be a whole number in range", allowed: ObjectDecoder.text(range))
    return nil
  }

  func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ name: String, _ type: Choice.Type
  ) -> Choice? {
    guard let text = items.first(where: { $0.name == name })?.value else { return nil }
    if let choice = Choice(rawValue: text), choice.rawValue.utf8.elementsEqual(text.utf8) { return choice }
    errors.add(name, "is not known", allowed: Choice.allCases.map(\.rawValue).joined(separator: ", "))
    return nil
  }

  func name(_ name: String) -> String? {
    guard let text = items.first(where: { $0.name == name })?.value else { return nil }
    if Names.isValid(text) { return text }
    errors.add(name, "is not a name", allowed: Names.pattern)
    return nil
  }
}
