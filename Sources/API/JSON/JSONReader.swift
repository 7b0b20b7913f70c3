/// Why a text is not JSON, or not a JSON text that is taken here.
public enum JSONError: Error, Equatable, Sendable {
  /// The offset counts bytes from the start.
  case malformed(JSONFault, offset: Int)
  /// `\ud800` without its other half; the pointer says in which value.
  case loneSurrogate(pointer: String, offset: Int)
}

/// What is wrong at the offset.
public enum JSONFault: String, Sendable {
  case end = "the text ends too early"
  case trailing = "something follows the value"
  case character = "an unexpected character"
  case number = "a number that is not one"
  case escape = "an unknown escape"
  case control = "a control character inside a string"
  case encoding = "bytes that are not UTF-8"
  case duplicate = "a member's name given twice"
  case depth = "values nested too deeply"
}

/// Strict RFC 8259: UTF-8 without a mark, no duplicate names, no lone surrogates, bounded depth.
public struct JSONReader {
  /// Arrays and objects inside one another.
  public static let depthLimit = 64
  /// From here on duplicate names are looked up in a table.
  private static let smallObject = 12

  private enum Step {
    case name(String)
    case index(Int)
  }

  private let bytes: [UInt8]
  private var index: Int
  private var path: [Step] = []

  private init(_ bytes: [UInt8], from index: Int) {
    self.bytes = bytes
    self.index = index
  }

  /// The one value of a text.
  public static func read(_ bytes: [UInt8]) throws(JSONError) -> JSONValue {
    var reader = JSONReader(bytes, from: 0)
    let value = try reader.value()
    reader.skipBlanks()
    guard reader.index == bytes.count else { throw .malformed(.trailing, offset: reader.index) }
    return value
  }

  private mutating func skipBlanks() {
    while index < bytes.count {
      switch bytes[index] {
      case 0x20, 0x0a, 0x0d, 0x09: index += 1
      default: return
      }
    }
  }

  private mutating func value() throws(JSONError) -> JSONValue {
    skipBlanks()
    guard index < bytes.count else { throw .malformed(.end, offset: index) }
    switch bytes[index] {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: throw .malformed(.character, offset: index)
    }
  }

  private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
    for offset in 0..<text.utf8CodeUnitCount {
      guard index < bytes.count else { throw .malformed(.end, offset: index) }
      guard bytes[index] == text.utf8Start[offset] else { throw .malformed(.character, offset: index) }
      index += 1
    }
    return value
  }

  private mutating func enter(_ step: Step) throws(JSONError) {
    if path.count == Self.depthLimit { throw .malformed(.depth, offset: index) }
    path.append(step)
    index += 1
    skipBlanks()
  }

  /// True at the closing byte, which is taken; else a comma was taken.
  private mutating func isClosed(by end: UInt8) throws(JSONError) -> Bool {
    skipBlanks()
    guard index < bytes.count else { throw .malformed(.end, offset: index) }
    let byte = bytes[index]
    guard byte == end || byte == UInt8(ascii: ",") else { throw .malformed(.character, offset: index) }
    index += 1
    return byte == end
  }

  private mutating func array() throws(JSONError) -> JSONValue {
    try enter(.index(0))
    defer { path.removeLast() }
    let end = UInt8(ascii: "]")
    if index < bytes.count, bytes[index] == end {
      index += 1
      return .array([])
    }
    var elements: [JSONValue] = []
    while true {
      path[path.count - 1] = .index(elements.count)
      elements.append(try value())
      if try isClosed(by: end) { return .array(elements) }
    }
  }

  private mutating func object() throws(JSONError) -> JSONValue {
    try enter(.name(""))
    defer { path.removeLast() }
    let end = UInt8(ascii: "}")
    if index < bytes.count, bytes[index] == end {
      index += 1
      return .object([])
    }
    var members: [JSONMember] = []
    var names: Set<[UInt8]> = []
    while true {
      skipBlanks()
      guard index < bytes.count else { throw .malformed(.end, offset: index) }
      let start = index
      guard bytes[index] == UInt8(ascii: "\"") else { throw .malformed(.character, offset: index) }
      let name = try string()
      if members.count < Self.smallObject {
        if members.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) {
          throw .malformed(.duplicate, offset: start)
        }
      } else {
        if names.isEmpty { names = Set(members.map { Array($0.name.utf8) }) }
        if !names.insert(Array(name.utf8)).inserted { throw .malformed(.duplicate, offset: start) }
      }
      skipBlanks()
      guard index < bytes.count else { throw .malformed(.end, offset: index) }
      guard bytes[index] == UInt8(ascii: ":") else { throw .malformed(.character, offset: index) }
      index += 1
      path[path.count - 1] = .name(name)
      members.append(JSONMember(name, try value()))
      if try isClosed(by: end) { return .object(members) }
    }
  }

  private mutating func number() throws(JSONError) -> JSONNumber {
    let start = index
    if bytes[index] == UInt8(ascii: "-") { index += 1 }
    let first = index
    try digits()
    if bytes[first] == UInt8(ascii: "0"), index > first + 1 { throw .malformed(.number, offset: first) }
    if index < bytes.count, bytes[index] == UInt8(ascii: ".") {
      index += 1
      try digits()
    }
    if index < bytes.count, bytes[index] | 0x20 == UInt8(ascii: "e") {
      index += 1
      if index < bytes.count, bytes[index] == UInt8(ascii: "+") || bytes[index] == UInt8(ascii: "-") {
        index += 1
      }
      try digits()
    }
    return JSONNumber(checked: String(decoding: bytes[start..<index], as: UTF8.self))
  }

  private mutating func digits() throws(JSONError) {
    let start = index
    while index < bytes.count, bytes[index] >= UInt8(ascii: "0"), bytes[index] <= UInt8(ascii: "9") {
      index += 1
    }
    if index == start { throw .malformed(index < bytes.count ? .number : .end, offset: index) }
  }
}

extension JSONReader {
  private mutating func string() throws(JSONError) -> String {
    index += 1
    let start = index
    let isASCII = skipPlain()
    guard index < bytes.count else { throw .malformed(.end, offset: index) }
    switch bytes[index] {
    case UInt8(ascii: "\\"): return try escapedString(from: start)
    case UInt8(ascii: "\""):
      let slice = bytes[start..<index]
      index += 1
      return isASCII ? String(decoding: slice, as: UTF8.self) : try text(slice, at: start)
    default: throw .malformed(.control, offset: index)
    }
  }

  /// Goes to the next byte of a string that is not plain (a quote, a backslash, a control), eight at a time; true where
  /// all before it are ASCII.
  private mutating func skipPlain() -> Bool {
    bytes.withUnsafeBytes { raw in
      guard let base = raw.baseAddress else { return true }
      var at = index
      // 32 a turn while all is plain.
      var all = SIMD4<UInt64>()
      while at &+ 32 <= raw.count {
        let words = base.loadUnaligned(fromByteOffset: at, as: SIMD4<UInt64>.self)
        if JSONSpecials.occur(in: words) { break }
        all |= words
        at &+= 32
      }
      var seen = JSONSpecials.joined(all)
      while at &+ 8 <= raw.count {
        let word = base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
        let special = JSONSpecials.marks(word)
        if special != 0 {
          let plain = special.trailingZeroBitCount & ~7
          seen |= word & (1 &<< UInt64(plain) &- 1)
          index = at &+ plain / 8
          return seen & JSONSpecials.highs == 0
        }
        seen |= word
        at &+= 8
      }
      while at < raw.count, !JSONSpecials.contains(raw[at]) {
        seen |= UInt64(raw[at])
        at += 1
      }
      index = at
      return seen & JSONSpecials.highs == 0
    }
  }

  private func text(_ slice: ArraySlice<UInt8>, at start: Int) throws(JSONError) -> String {
    guard let text = String(validating: slice, as: UTF8.self) else {
      throw .malformed(.encoding, offset: start)
    }
    return text
  }

  private mutating func escapedString(from start: Int) throws(JSONError) -> String {
    var output = Array(bytes[start..<index])
    while index < bytes.count {
      let byte = bytes[index]
      switch byte {
      case UInt8(ascii: "\""):
        index += 1
        return try text(output[...], at: start)
      case UInt8(ascii: "\\"): try escape(into: &output)
      case ..<0x20: throw .malformed(.control, offset: index)
      default:
        output.append(byte)
        index += 1
      }
    }
    throw .malformed(.end, offset: index)
  }

  private mutating func escape(into output: inout [UInt8]) throws(JSONError) {
    let start = index
    guard index + 1 < bytes.count else { throw .malformed(.end, offset: bytes.count) }
    let kind = bytes[index + 1]
    index += 2
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(kind)
    case UInt8(ascii: "b"): output.append(0x08)
    case UInt8(ascii: "f"): output.append(0x0c)
    case UInt8(ascii: "n"): output.append(0x0a)
    case UInt8(ascii: "r"): output.append(0x0d)
    case UInt8(ascii: "t"): output.append(0x09)
    case UInt8(ascii: "u"):
      var code = try hex()
      if code & 0xfc00 == 0xd800, index + 1 < bytes.count, bytes[index] == UInt8(ascii: "\\"),
        bytes[index + 1] == UInt8(ascii: "u")
      {
        index += 2
        let low = try hex()
        guard low & 0xfc00 == 0xdc00 else { throw .loneSurrogate(pointer: pointer, offset: start) }
        code = 0x1_0000 + (code & 0x3ff) << 10 + (low & 0x3ff)
      }
      guard let scalar = Unicode.Scalar(code) else {
        throw .loneSurrogate(pointer: pointer, offset: start)
      }
      output.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
    default: throw .malformed(.escape, offset: start)
    }
  }

  private mutating func hex() throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard index < bytes.count else { throw .malformed(.end, offset: index) }
      guard let digit = Character(Unicode.Scalar(bytes[index])).hexDigitValue, bytes[index] < 0x80 else {
        throw .malformed(.escape, offset: index)
      }
      code = code << 4 | UInt32(digit)
      index += 1
    }
    return code
  }

  private var pointer: String {
    path.map { step in
      switch step {
      case .name(let name): "/" + JSONPointer.escaped(name)
      case .index(let index): "/\(index)"
      }
    }.joined()
  }
}

extension JSONReader {
  /// What `read(_:textsOf:)` gives.
  struct PlainTexts {
    /// The text that was read; behind it what escapes stand for.
    var bytes: [UInt8]
    var texts: [Range<Int>] = []
    /// The object's other members.
    var rest: [JSONMember] = []
  }

  /// An object with a list of strings under `name`, without a value for each of them, and with few other members; nil
  /// for any other text, and for one that is not JSON: `read` says what it is.
  static func read(_ bytes: [UInt8], textsOf name: String) -> PlainTexts? {
    var reader = JSONReader(bytes, from: 0)
    var found = PlainTexts(bytes: bytes)
    var isFound = false
    do throws(JSONError) {
      reader.skipBlanks()
      guard reader.isAt(UInt8(ascii: "{")) else { return nil }
      try reader.enter(.name(""))
      repeat {
        reader.skipBlanks()
        guard reader.isAt(UInt8(ascii: "\"")) else { return nil }
        let member = try reader.string()
        reader.skipBlanks()
        guard reader.isAt(UInt8(ascii: ":")) else { return nil }
        reader.index += 1
        reader.skipBlanks()
        if member == name {
          guard !isFound, reader.isAt(UInt8(ascii: "[")) else { return nil }
          isFound = true
          try reader.texts(into: &found)
        } else {
          // More of them are for `read`, which has a table of names.
          if found.rest.count == smallObject { return nil }
          if found.rest.contains(where: { $0.name == member }) { return nil }
          found.rest.append(JSONMember(member, try reader.value()))
        }
      } while try !reader.isClosed(by: UInt8(ascii: "}"))
      reader.skipBlanks()
    } catch {
      return nil
    }
    return isFound && reader.index == bytes.count ? found : nil
  }

  /// Texts that a first allocation holds.
  private static let fewTexts = 32

  private func isAt(_ byte: UInt8) -> Bool { index < bytes.count && bytes[index] == byte }

  private mutating func texts(into found: inout PlainTexts) throws(JSONError) {
    found.texts.reserveCapacity(Self.fewTexts)
    index += 1
    repeat {
      skipBlanks()
      guard isAt(UInt8(ascii: "\"")) else { throw .malformed(.character, offset: index) }
      let start = index + 1
      index = start
      let isASCII = skipPlain()
      if isAt(UInt8(ascii: "\"")) {
        if !isASCII { _ = try text(bytes[start..<index], at: start) }
        found.texts.append(start..<index)
        index += 1
      } else {
        index = start - 1
        let decoded = try string()
        found.texts.append(found.bytes.count..<found.bytes.count + decoded.utf8.count)
        found.bytes.append(contentsOf: decoded.utf8)
      }
    } while try !isClosed(by: UInt8(ascii: "]"))
  }
}

/// RFC 6901.
enum JSONPointer {
  static func escaped(_ name: String) -> String {
    guard name.utf8.contains(where: { $0 == UInt8(ascii: "~") || $0 == UInt8(ascii: "/") }) else {
      return name
    }
    var text = ""
    for scalar in name.unicodeScalars {
      switch scalar {
      case "~": text += "~0"
      case "/": text += "~1"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}
