/// A JSON value with strings as UTF-8 bytes.
///
/// Vocabulary keys are told apart by bytes: `String` compares by canonical equivalence, which would make one of `é` and
/// `e\u{301}`. Objects keep their order and every member, so that a repeated name can be refused.
enum JSONValue: Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  /// A number with a fraction or an exponent, or beyond 64 bits.
  case number(Double)
  case string([UInt8])
  case array([JSONValue])
  case object([(key: [UInt8], value: JSONValue)])

  static func == (a: JSONValue, b: JSONValue) -> Bool {
    switch (a, b) {
    case (.null, .null): true
    case (.number(let x), .number(let y)): x == y
    case (.bool(let x), .bool(let y)): x == y
    case (.integer(let x), .integer(let y)): x == y
    case (.string(let x), .string(let y)): x == y
    case (.array(let x), .array(let y)): x == y
    case (.object(let x), .object(let y)): x.elementsEqual(y) { $0.key == $1.key && $0.value == $1.value }
    default: false
    }
  }
}

/// Strict RFC 8259 with a bound on nesting.
struct JSONReader {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var position = 0
  private let depthLimit: Int

  /// Reads a whole text.
  ///
  /// - Throws: `TokenizerError.notJSON`.
  static func parse(_ bytes: [UInt8], depthLimit: Int = 64) throws(TokenizerError) -> JSONValue {
    let result = bytes.withUnsafeBufferPointer { buffer -> Result<JSONValue, TokenizerError> in
      var reader = JSONReader(bytes: buffer, depthLimit: depthLimit)
      do throws(TokenizerError) {
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        if reader.position < buffer.count { throw reader.fault(.trailingBytes) }
        return .success(value)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private init(bytes: UnsafeBufferPointer<UInt8>, depthLimit: Int) {
    self.bytes = bytes
    self.depthLimit = depthLimit
  }

  private func fault(_ reason: JSONFault) -> TokenizerError { .notJSON(offset: position, reason: reason) }

  private mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  private func peek() throws(TokenizerError) -> UInt8 {
    guard position < bytes.count else { throw fault(.unexpectedEnd) }
    return bytes[position]
  }

  private mutating func expect(_ byte: UInt8) throws(TokenizerError) {
    guard try peek() == byte else { throw fault(.unexpectedByte) }
    position += 1
  }

  private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(TokenizerError) -> JSONValue
  {
    for i in 0..<text.utf8CodeUnitCount { try expect(text.utf8Start[i]) }
    return value
  }

  private mutating func value(depth: Int) throws(TokenizerError) -> JSONValue {
    skipSpace()
    guard depth <= depthLimit else { throw fault(.tooDeep) }
    switch try peek() {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw fault(.unexpectedByte)
    }
  }

  private mutating func object(depth: Int) throws(TokenizerError) -> JSONValue {
    position += 1
    var members: [(key: [UInt8], value: JSONValue)] = []
    skipSpace()
    if try peek() == UInt8(ascii: "}") {
      position += 1
      return .object(members)
    }
    while true {
      skipSpace()
      guard try peek() == UInt8(ascii: "\"") else { throw fault(.unexpectedByte) }
      let key = try string()
      skipSpace()
      try expect(UInt8(ascii: ":"))
      members.append((key, try value(depth: depth + 1)))
      skipSpace()
      if try peek() == UInt8(ascii: ",") {
        position += 1
      } else {
        try expect(UInt8(ascii: "}"))
        return .object(members)
      }
    }
  }

  private mutating func array(depth: Int) throws(TokenizerError) -> JSONValue {
    position += 1
    var elements: [JSONValue] = []
    skipSpace()
    if try peek() == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      if try peek() == UInt8(ascii: ",") {
        position += 1
      } else {
        try expect(UInt8(ascii: "]"))
        return .array(elements)
      }
    }
  }

  private mutating func number() throws(TokenizerError) -> JSONValue {
    let first = position
    let isNegative = try peek() == UInt8(ascii: "-")
    if isNegative { position += 1 }
    let start = position
    var value: Int? = 0
    while position < bytes.count, let digit = Self.digit(bytes[position]) {
      value = value.flatMap { v in
        let (product, over) = v.multipliedReportingOverflow(by: 10)
        let (sum, overSum) = product.addingReportingOverflow(digit)
        return over || overSum ? nil : sum
      }
      position += 1
    }
    // RFC 8259 §6: at least one digit, no leading zero
    guard position > start, position == start + 1 || bytes[start] != UInt8(ascii: "0") else {
      throw fault(.invalidNumber)
    }
    var isWhole = true
    if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
      position += 1
      isWhole = false
      try digits()
    }
    if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
      position += 1
      isWhole = false
      if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-")
      {
        position += 1
      }
      try digits()
    }
    guard isWhole, let value else {
      // A text checked above is one that Double reads.
      let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[first..<position]), as: UTF8.self)
      guard let number = Double(text) else { throw fault(.invalidNumber) }
      return .number(number)
    }
    return .integer(isNegative ? -value : value)
  }

  private mutating func digits() throws(TokenizerError) {
    let start = position
    while position < bytes.count, Self.digit(bytes[position]) != nil { position += 1 }
    if position == start { throw fault(.invalidNumber) }
  }

  private static func digit(_ byte: UInt8) -> Int? {
    byte >= 0x30 && byte <= 0x39 ? Int(byte) - 0x30 : nil
  }

  private mutating func string() throws(TokenizerError) -> [UInt8] {
    position += 1
    var result: [UInt8] = []
    while true {
      let start = position
      while position < bytes.count, bytes[position] >= 0x20, bytes[position] < 0x80,
        bytes[position] != UInt8(ascii: "\""), bytes[position] != UInt8(ascii: "\\")
      {
        position += 1
      }
      result += bytes[start..<position]
      switch try peek() {
      case UInt8(ascii: "\""):
        position += 1
        return result
      case UInt8(ascii: "\\"):
        position += 1
        try escape(into: &result)
      case 0x80...:
        let length = UTF8Scalars.validLength(bytes, at: position)
        if length == 0 { throw fault(.invalidUTF8) }
        result += bytes[position..<position + length]
        position += length
      default:
        throw fault(.controlCharacter)
      }
    }
  }

  private mutating func escape(into result: inout [UInt8]) throws(TokenizerError) {
    let byte = try peek()
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
    case UInt8(ascii: "b"): result.append(0x08)
    case UInt8(ascii: "f"): result.append(0x0C)
    case UInt8(ascii: "n"): result.append(0x0A)
    case UInt8(ascii: "r"): result.append(0x0D)
    case UInt8(ascii: "t"): result.append(0x09)
    case UInt8(ascii: "u"):
      var unit = try hex()
      if unit >= 0xD800, unit < 0xDC00 {
        guard position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
          bytes[position + 1] == UInt8(ascii: "u")
        else { throw fault(.loneSurrogate) }
        position += 2
        let low = try hex()
        guard low >= 0xDC00, low < 0xE000 else { throw fault(.loneSurrogate) }
        unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
      } else if unit >= 0xDC00, unit < 0xE000 {
        throw fault(.loneSurrogate)
      }
      UTF8Scalars.append(unit, to: &result)
    default:
      position -= 1
      throw fault(.invalidEscape)
    }
  }

  private mutating func hex() throws(TokenizerError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      let byte = try peek()
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte - 0x30)
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt32(byte - 0x57)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt32(byte - 0x37)
      default: throw fault(.invalidEscape)
      }
      position += 1
    }
    return value
  }
}
