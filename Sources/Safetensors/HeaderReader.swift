/// A cursor over the header's JSON, for just the grammar that the format has: three levels, strings, whole numbers.
///
/// There is no recursion, so no nesting can exhaust the stack; what the grammar does not name is refused where it
/// stands.
struct HeaderReader {
  private let bytes: UnsafeRawBufferPointer
  private(set) var position: Int
  private let end: Int

  /// - Parameter range: the header's bytes inside `bytes`.
  init(_ bytes: UnsafeRawBufferPointer, range: Range<Int>) {
    self.bytes = bytes
    position = range.lowerBound
    end = range.upperBound
  }

  func fault(_ fault: HeaderFault) -> SafetensorsError { .syntax(fault, offset: position) }

  // MARK: Structure

  /// Skips JSON's white space, then returns the next byte without taking it.
  mutating func peek() throws(SafetensorsError) -> UInt8 {
    skipSpace()
    guard position < end else { throw fault(.unexpectedEnd) }
    return bytes[position]
  }

  mutating func expect(_ byte: UInt8) throws(SafetensorsError) {
    guard try peek() == byte else { throw fault(.unexpectedByte) }
    position += 1
  }

  /// True and taken when the next byte is `byte`.
  mutating func take(_ byte: UInt8) throws(SafetensorsError) -> Bool {
    guard try peek() == byte else { return false }
    position += 1
    return true
  }

  /// Walks `{ "key": value, … }`, handing each key over with the cursor at its value.
  mutating func object(
    _ member: (inout HeaderReader, String) throws(SafetensorsError) -> Void
  ) throws(SafetensorsError) {
    try expect(UInt8(ascii: "{"))
    if try take(UInt8(ascii: "}")) { return }
    repeat {
      let key = try string()
      try expect(UInt8(ascii: ":"))
      try member(&self, key)
    } while try take(UInt8(ascii: ","))
    try expect(UInt8(ascii: "}"))
  }

  /// `[n, …]` of whole numbers, at most `limit` of them.
  mutating func numbers(limit: Int) throws(SafetensorsError) -> [Int] {
    var result: [Int] = []
    try expect(UInt8(ascii: "["))
    if try take(UInt8(ascii: "]")) { return result }
    repeat {
      guard result.count < limit else { throw fault(.tooManyDimensions) }
      result.append(try number())
    } while try take(UInt8(ascii: ","))
    try expect(UInt8(ascii: "]"))
    return result
  }

  /// Only spaces may pad the header after its object.
  mutating func finish() throws(SafetensorsError) {
    while position < end {
      guard bytes[position] == UInt8(ascii: " ") else { throw fault(.unexpectedByte) }
      position += 1
    }
  }

  private mutating func skipSpace() {
    while position < end {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  // MARK: Values

  /// Digits alone: no sign, fraction, exponent or leading zero.
  mutating func number() throws(SafetensorsError) -> Int {
    guard case UInt8(ascii: "0")...UInt8(ascii: "9") = try peek() else { throw fault(.unexpectedByte) }
    let start = position
    var value = 0
    while position < end, case UInt8(ascii: "0")...UInt8(ascii: "9") = bytes[position] {
      let (tens, over) = value.multipliedReportingOverflow(by: 10)
      let (next, past) = tens.addingReportingOverflow(Int(bytes[position] - UInt8(ascii: "0")))
      guard !over, !past else { throw fault(.numberTooLarge) }
      value = next
      position += 1
    }
    if bytes[start] == UInt8(ascii: "0"), position - start > 1 { throw fault(.leadingZero) }
    return value
  }

  mutating func string() throws(SafetensorsError) -> String {
    try expect(UInt8(ascii: "\""))
    var text: [UInt8] = []
    let start = position
    while position < end {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""):
        guard let result = String(validating: text, as: UTF8.self) else {
          throw .syntax(.invalidUTF8, offset: start)
        }
        position += 1
        return result
      case UInt8(ascii: "\\"):
        position += 1
        try escape(into: &text)
      case 0..<0x20:
        throw fault(.controlCharacter)
      default:
        text.append(byte)
        position += 1
      }
    }
    throw fault(.unexpectedEnd)
  }

  private mutating func escape(into text: inout [UInt8]) throws(SafetensorsError) {
    guard position < end else { throw fault(.unexpectedEnd) }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      var code = UInt32(try codeUnit())
      if case 0xD800..<0xDC00 = code {
        guard position + 1 < end, bytes[position] == UInt8(ascii: "\\"),
          bytes[position + 1] == UInt8(ascii: "u")
        else { throw fault(.invalidEscape) }
        position += 2
        let low = UInt32(try codeUnit())
        guard case 0xDC00..<0xE000 = low else { throw fault(.invalidEscape) }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      // A lone low surrogate is no scalar.
      guard let scalar = Unicode.Scalar(code) else { throw fault(.invalidEscape) }
      text.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    default:
      position -= 1
      throw fault(.invalidEscape)
    }
  }

  private mutating func codeUnit() throws(SafetensorsError) -> UInt16 {
    guard end - position >= 4 else { throw fault(.unexpectedEnd) }
    var value: UInt16 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch bytes[position] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = bytes[position] - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = bytes[position] - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = bytes[position] - UInt8(ascii: "A") + 10
      default: throw fault(.invalidEscape)
      }
      value = value << 4 | UInt16(digit)
      position += 1
    }
    return value
  }
}
