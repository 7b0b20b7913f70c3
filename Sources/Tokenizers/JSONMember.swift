/// A value with its place in the file, for errors that say where.
struct JSONMember {
  let path: String
  let value: JSONValue

  /// A member of an object; nil where it is missing or this is no object.
  subscript(name: String) -> JSONMember? {
    guard case .object(let members) = value else { return nil }
    let key = Array(name.utf8)
    guard let found = members.first(where: { $0.key == key }) else { return nil }
    return JSONMember(path: path == "the file" ? name : "\(path).\(name)", value: found.value)
  }

  func member(_ name: String) throws(TokenizerError) -> JSONMember {
    try requireObject()
    guard let member = self[name] else {
      throw .missing(path: path == "the file" ? name : "\(path).\(name)")
    }
    return member
  }

  func members() throws(TokenizerError) -> [(key: [UInt8], value: JSONValue)] {
    guard case .object(let members) = value else { throw .wrongType(path: path, expected: "an object") }
    return members
  }

  /// An object with no name twice.
  func requireObject() throws(TokenizerError) {
    var names = Set<[UInt8]>()
    for (key, _) in try members() where !names.insert(key).inserted {
      throw .duplicate(path: path, name: String(decoding: key, as: UTF8.self))
    }
  }

  func elements() throws(TokenizerError) -> [JSONMember] {
    guard case .array(let elements) = value else { throw .wrongType(path: path, expected: "a list") }
    return elements.enumerated().map { JSONMember(path: "\(path)[\($0.offset)]", value: $0.element) }
  }

  func bytes() throws(TokenizerError) -> [UInt8] {
    guard case .string(let bytes) = value else { throw .wrongType(path: path, expected: "a string") }
    return bytes
  }

  func text() throws(TokenizerError) -> String { String(decoding: try bytes(), as: UTF8.self) }

  func bool() throws(TokenizerError) -> Bool {
    guard case .bool(let bool) = value else { throw .wrongType(path: path, expected: "true or false") }
    return bool
  }

  func optionalBool() throws(TokenizerError) -> Bool? { value == .null ? nil : try bool() }

  func integer() throws(TokenizerError) -> Int {
    guard case .integer(let integer) = value else { throw .wrongType(path: path, expected: "an integer") }
    return integer
  }

  func double() throws(TokenizerError) -> Double {
    switch value {
    case .integer(let integer): return Double(integer)
    case .number(let number) where number.isFinite: return number
    case .number: throw .outOfRange(path: path)
    default: throw .wrongType(path: path, expected: "a number")
    }
  }

  /// A member that may be missing or null.
  func optional(_ name: String) throws(TokenizerError) -> JSONMember? {
    try requireObject()
    guard let member = self[name], member.value != .null else { return nil }
    return member
  }

  func flag(_ name: String, default: Bool) throws(TokenizerError) -> Bool {
    try optional(name)?.bool() ?? `default`
  }

  /// A token id or a segment.
  func id() throws(TokenizerError) -> Int32 {
    let integer = try integer()
    guard integer >= 0, integer < TokenizerFile.limitID else { throw .outOfRange(path: path) }
    return Int32(integer)
  }

  /// The `type` of a component; nil where the component is null.
  func type() throws(TokenizerError) -> String? {
    if value == .null { return nil }
    return try member("type").text()
  }
}
