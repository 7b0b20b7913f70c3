import Testing

@testable import Safetensors

/// A hostile file and the verdict on it.
struct Attack: CustomTestStringConvertible, Sendable {
  let name: String
  let bytes: [UInt8]
  let verdict: SafetensorsError
  var testDescription: String { name }

  init(_ name: String, header: String, data: Int = 0, _ verdict: SafetensorsError) {
    self.init(name, bytes: SafetensorsFixture.file(header: Array(header.utf8), dataBytes: data), verdict)
  }

  init(_ name: String, bytes: [UInt8], _ verdict: SafetensorsError) {
    self.name = name
    self.bytes = bytes
    self.verdict = verdict
  }
}

enum SafetensorsFixture {
  static func file(header: [UInt8], dataBytes: Int = 0, length: UInt64? = nil) -> [UInt8] {
    let claimed = length ?? UInt64(header.count)
    return withUnsafeBytes(of: claimed.littleEndian) { Array($0) } + header
      + (0..<dataBytes).map { UInt8(truncatingIfNeeded: $0) }
  }

  static func tensor(_ name: String, _ shape: String, _ offsets: String, type: String = "F32") -> String {
    "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}"
  }
}

@Suite struct `Adversary: safetensors` {
  typealias F = SafetensorsFixture

  static let attacks: [Attack] = [
    Attack("empty file", bytes: [], .truncated(bytes: 0)),
    Attack("seven bytes", bytes: [1, 0, 0, 0, 0, 0, 0], .truncated(bytes: 7)),
    Attack(
      "header larger than the file", bytes: F.file(header: Array("{}".utf8), length: 3),
      .headerBeyondFile(headerBytes: 3, fileBytes: 10)),
    Attack(
      "header length 2^64-1", bytes: F.file(header: Array("{}".utf8), length: .max),
      .headerTooLarge(bytes: .max)),
    Attack(
      "header length 2^63", bytes: F.file(header: [], length: 1 << 63), .headerTooLarge(bytes: 1 << 63)),
    Attack(
      "header just past the limit", bytes: F.file(header: [], length: 100_000_001),
      .headerTooLarge(bytes: 100_000_001)),
    Attack("empty header", header: "", .syntax(.unexpectedByte, offset: 8)),
    Attack("space before the brace", header: " {}", .syntax(.unexpectedByte, offset: 8)),
    Attack("text after the object", header: "{}x", .syntax(.unexpectedByte, offset: 10)),
    Attack("second object", header: "{} {}", .syntax(.unexpectedByte, offset: 11)),
    Attack("unclosed object", header: "{\"a\":", .syntax(.unexpectedEnd, offset: 13)),
    Attack("trailing comma", header: "{\"__metadata__\":{},}", .syntax(.unexpectedByte, offset: 27)),
    Attack("null in place of a tensor", header: "{\"a\":null}", .syntax(.unexpectedByte, offset: 13)),
    Attack(
      "deep nesting", header: "{\"a\":" + String(repeating: "[", count: 100_000),
      .syntax(.unexpectedByte, offset: 13)),
    Attack(
      "deep nesting inside a shape",
      header: "{\"a\":{\"shape\":" + String(repeating: "[", count: 100_000),
      .syntax(.unexpectedByte, offset: 23)),
    Attack(
      "invalid UTF-8 in a name", bytes: F.file(header: Array("{\"".utf8) + [0xFF] + Array("\":{}}".utf8)),
      .syntax(.invalidUTF8, offset: 10)),
    Attack(
      "surrogate as UTF-8 bytes",
      bytes: F.file(header: Array("{\"".utf8) + [0xED, 0xA0, 0x80] + Array("\":{}}".utf8)),
      .syntax(.invalidUTF8, offset: 10)),
    Attack("lone high surrogate", header: #"{"\ud800":{}}"#, .syntax(.invalidEscape, offset: 16)),
    Attack("lone low surrogate", header: #"{"\udc00":{}}"#, .syntax(.invalidEscape, offset: 16)),
    Attack("unknown escape", header: #"{"\x41":{}}"#, .syntax(.invalidEscape, offset: 11)),
    Attack("line feed in a name", header: "{\"a\nb\":{}}", .syntax(.controlCharacter, offset: 11)),
    Attack("NUL in a name", header: "{\"a\0\":{}}", .syntax(.controlCharacter, offset: 11)),
    Attack(
      "duplicate tensor", header: "{\(F.tensor("a", "[1]", "[0,4]")),\(F.tensor("a", "[1]", "[4,8]"))}",
      data: 8, .duplicate(name: "a")),
    Attack(
      "duplicate by escape",
      header: "{\(F.tensor("a", "[1]", "[0,4]")),\(F.tensor("\\u0061", "[1]", "[4,8]"))}", data: 8,
      .duplicate(name: "a")),
    Attack(
      "duplicate metadata key", header: #"{"__metadata__":{"k":"1","k":"2"}}"#, .duplicate(name: "k")),
    Attack(
      "duplicate metadata", header: #"{"__metadata__":{},"__metadata__":{}}"#,
      .duplicate(name: "__metadata__")),
    Attack(
      "duplicate field", header: #"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#,
      data: 4, .duplicate(name: "dtype")),
    Attack(
      "unknown field", header: #"{"a":{"dtype":"F32","strides":[1]}}"#,
      .syntax(.unknownField, offset: 38)),
    Attack("missing field", header: #"{"a":{"dtype":"F32","shape":[]}}"#, .syntax(.missingField, offset: 39)),
    Attack(
      "one offset", header: "{\(F.tensor("a", "[1]", "[0]"))}", data: 4,
      .syntax(.missingField, offset: 59)),
    Attack(
      "three offsets", header: "{\(F.tensor("a", "[1]", "[0,4,8]"))}", data: 4,
      .syntax(.tooManyDimensions, offset: 60)),
    Attack(
      "metadata value that is a number", header: #"{"__metadata__":{"k":1}}"#,
      .syntax(.unexpectedByte, offset: 29)),
    Attack(
      "unknown element type", header: "{\(F.tensor("a", "[1]", "[0,4]", type: "F33"))}", data: 4,
      .unknownElementType(name: "a", text: "F33")),
    Attack(
      "shape of 2^63", header: "{\(F.tensor("a", "[9223372036854775808]", "[0,4]"))}", data: 4,
      .syntax(.numberTooLarge, offset: 55)),
    Attack(
      "shape of 2^63-1", header: "{\(F.tensor("a", "[9223372036854775807]", "[0,4]"))}", data: 4,
      .shapeOverflow(name: "a")),
    Attack(
      "shape product that wraps to its size",
      header: "{\(F.tensor("a", "[4294967296,4294967296,1]", "[0,0]"))}", .shapeOverflow(name: "a")),
    Attack(
      "overflow hidden behind a zero",
      header: "{\(F.tensor("a", "[0,4294967296,4294967296]", "[0,0]"))}", .shapeOverflow(name: "a")),
    Attack(
      "seventeen dimensions",
      header: "{\(F.tensor("a", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"))}", data: 4,
      .syntax(.tooManyDimensions, offset: 69)),
    Attack(
      "negative dimension", header: "{\(F.tensor("a", "[-1]", "[0,4]"))}", data: 4,
      .syntax(.unexpectedByte, offset: 37)),
    Attack(
      "fraction", header: "{\(F.tensor("a", "[1.5]", "[0,4]"))}", data: 4,
      .syntax(.unexpectedByte, offset: 38)),
    Attack(
      "exponent", header: "{\(F.tensor("a", "[1e0]", "[0,4]"))}", data: 4,
      .syntax(.unexpectedByte, offset: 38)),
    Attack(
      "leading zero", header: "{\(F.tensor("a", "[01]", "[0,4]"))}", data: 4,
      .syntax(.leadingZero, offset: 39)),
    Attack(
      "overlapping tensors",
      header: "{\(F.tensor("a", "[2]", "[0,8]")),\(F.tensor("b", "[2]", "[4,12]"))}", data: 12,
      .overlap(name: "b", offset: 4)),
    Attack(
      "two tensors on the same bytes",
      header: "{\(F.tensor("a", "[2]", "[0,8]")),\(F.tensor("b", "[2]", "[0,8]"))}", data: 8,
      .overlap(name: "b", offset: 0)),
    Attack(
      "hole between tensors",
      header: "{\(F.tensor("a", "[1]", "[0,4]")),\(F.tensor("b", "[1]", "[8,12]"))}", data: 12,
      .hole(name: "b", bytes: 4)),
    Attack(
      "hole before the first", header: "{\(F.tensor("a", "[1]", "[4,8]"))}", data: 8,
      .hole(name: "a", bytes: 4)),
    Attack(
      "trailing bytes", header: "{\(F.tensor("a", "[1]", "[0,4]"))}", data: 5, .trailingBytes(count: 1)),
    Attack("data without a tensor", header: "{}", data: 1, .trailingBytes(count: 1)),
    Attack(
      "reversed offsets", header: "{\(F.tensor("a", "[0]", "[4,0]"))}", data: 4,
      .offsetsOutsideFile(name: "a")),
    Attack(
      "offsets past the file", header: "{\(F.tensor("a", "[2]", "[0,8]"))}", data: 4,
      .offsetsOutsideFile(name: "a")),
    Attack(
      "offset of 2^63-1", header: "{\(F.tensor("a", "[0]", "[9223372036854775807,9223372036854775807]"))}",
      .offsetsOutsideFile(name: "a")),
    Attack(
      "range shorter than the shape", header: "{\(F.tensor("a", "[2]", "[0,4]"))}", data: 4,
      .wrongSize(name: "a", expectedBytes: 8, actualBytes: 4)),
    Attack(
      "bytes in a tensor of nothing", header: "{\(F.tensor("a", "[0]", "[0,4]"))}", data: 4,
      .wrongSize(name: "a", expectedBytes: 0, actualBytes: 4)),
  ]

  @Test(arguments: attacks) func `is refused with its verdict`(_ attack: Attack) {
    #expect(throws: attack.verdict) { try SafetensorsDocument(bytes: attack.bytes) }
  }

  @Test func `every cut of a good file is refused`() throws {
    let whole = SafetensorsEncoder.encode(
      [("a", [2, 3], [1, 2, 3, 4, 5, 6]), ("b", [], [7])], metadata: ["k": "v"])
    _ = try SafetensorsDocument(bytes: whole)
    for count in 0..<whole.count {
      #expect(throws: SafetensorsError.self) { try SafetensorsDocument(bytes: Array(whole.prefix(count))) }
    }
  }
}
