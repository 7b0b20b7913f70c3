/// Writes JSON text straight into bytes. Commas are its own; names and order are the caller's.
public struct JSONWriter {
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false

  public init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

  /// One object as a whole text.
  public static func object(_ body: (inout JSONWriter) -> Void) -> [UInt8] {
    var writer = JSONWriter()
    writer.object(body)
    return writer.bytes
  }

  public mutating func object<Failure>(
    _ body: (inout JSONWriter) throws(Failure) -> Void
  ) throws(Failure) {
    open(UInt8(ascii: "{"))
    try body(&self)
    close(UInt8(ascii: "}"))
  }

  public mutating func array<Element, Failure>(
    _ elements: some Sequence<Element>, _ body: (inout JSONWriter, Element) throws(Failure) -> Void
  ) throws(Failure) {
    open(UInt8(ascii: "["))
    for element in elements { try body(&self, element) }
    close(UInt8(ascii: "]"))
  }

  /// An array whose elements `body` writes.
  public mutating func array(_ body: (inout JSONWriter) -> Void) {
    open(UInt8(ascii: "["))
    body(&self)
    close(UInt8(ascii: "]"))
  }

  public mutating func name(_ name: String) {
    separate()
    quote(name)
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
  }

  public mutating func value(_ text: String) {
    separate()
    quote(text)
    needsComma = true
  }

  public mutating func value(_ number: Int) {
    value(upTo: JSONRoom.integerBytes) { $0.append(number) }
  }

  public mutating func value(_ flag: Bool) { word(flag ? "true" : "false") }
  public mutating func null() { word("null") }

  /// The shortest digits that read back as the same double; `null` where it is not finite.
  public mutating func value(_ number: Double) { word(number.isFinite ? number.description : "null") }

  /// The shortest digits that read back as the same float32; `null` where it is not finite.
  public mutating func value(_ number: Float) {
    value(upTo: JSONRoom.floatBytes) { $0.append(number) }
  }

  /// The floats as an array.
  public mutating func floats(_ numbers: [Float]) {
    value(upTo: 2 + numbers.count * (JSONRoom.floatBytes + 1)) { room in
      room.append("[")
      for (index, number) in numbers.enumerated() {
        if index > 0 { room.append(",") }
        room.append(number)
      }
      room.append("]")
    }
  }

  /// Text that is JSON already.
  public mutating func raw(_ json: String) { word(json) }

  /// A value as JSON that `fill` makes: at most `capacity` bytes.
  mutating func value(upTo capacity: Int, _ fill: (inout JSONRoom) -> Void) {
    separate()
    self.fill(capacity, fill)
    needsComma = true
  }

  @inline(__always)
  private mutating func fill(_ capacity: Int, _ fill: (inout JSONRoom) -> Void) {
    bytes.append(addingCapacity: capacity) { span in
      span.withUnsafeMutableBufferPointer { memory, count in
        var room = JSONRoom(memory)
        fill(&room)
        count = room.count
      }
    }
  }

  /// Part of a value, as it is: what is made of such parts is JSON by its maker's care.
  mutating func piece(_ json: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: json.utf8Start, count: json.utf8CodeUnitCount))
  }

  /// The same: a text in quotes.
  mutating func piece(quoted text: String) { quote(text) }

  private mutating func word(_ text: String) {
    separate()
    append(text)
    needsComma = true
  }

  private mutating func append(_ text: String) {
    var text = text
    text.withUTF8 { bytes.append(contentsOf: $0) }
  }

  private mutating func open(_ byte: UInt8) {
    separate()
    bytes.append(byte)
    needsComma = false
  }

  private mutating func close(_ byte: UInt8) {
    bytes.append(byte)
    needsComma = true
  }

  private mutating func separate() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
  }

  private mutating func quote(_ text: String) {
    var text = text
    text.withUTF8 { utf8 in
      if JSONSpecials.occur(in: utf8) { return escape(utf8) }
      fill(utf8.count + 2) { room in
        room.append("\"")
        room.append(utf8)
        room.append("\"")
      }
    }
  }

  private mutating func escape(_ text: UnsafeBufferPointer<UInt8>) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x0a: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "n")])
      case ..<0x20:
        bytes.append(contentsOf: "\\u00".utf8)
        for digit in [byte >> 4, byte & 15] {
          bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

extension JSONWriter {
  /// A member; nil is written as `null`.
  public mutating func member(_ name: String, _ text: String?) {
    self.name(name)
    if let text { value(text) } else { null() }
  }

  public mutating func member(_ name: String, _ number: Int?) {
    self.name(name)
    if let number { value(number) } else { null() }
  }

  public mutating func member(_ name: String, _ number: Double?) {
    self.name(name)
    if let number { value(number) } else { null() }
  }

  public mutating func member(_ name: String, _ number: Float) {
    self.name(name)
    value(number)
  }

  public mutating func member(_ name: String, _ flag: Bool) {
    self.name(name)
    value(flag)
  }

  public mutating func member(_ name: String, _ texts: [String]) {
    self.name(name)
    array(texts) { $0.value($1) }
  }

  public mutating func member(_ name: String, raw json: String?) {
    self.name(name)
    raw(json ?? "null")
  }
}
