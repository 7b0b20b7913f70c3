/// A field value with parameters: `name; a=b; c="d"` (RFC 9110 §5.6.6). In a quoted value `\"` and `\\` are escapes and
/// any other backslash is itself, because browsers send file names with such.
struct FieldParameters {
  private let name: String
  private var parameters: [(name: String, value: String)] = []

  /// nil where the value has another form.
  init?(_ text: String) {
    var rest = Array(text.utf8)[...]
    guard let name = Self.word(&rest, Self.isNameByte) else { return nil }
    self.name = name
    while true {
      Self.skipBlanks(&rest)
      guard let byte = rest.popFirst() else { return }
      guard byte == UInt8(ascii: ";") else { return nil }
      Self.skipBlanks(&rest)
      // A semicolon may stand at the end.
      if rest.isEmpty { return }
      guard let name = Self.word(&rest, ByteClass.token.contains), rest.popFirst() == UInt8(ascii: "=") else {
        return nil
      }
      guard let value = rest.first == UInt8(ascii: "\"") ? Self.quoted(&rest) : Self.word(&rest, Self.isPlain)
      else { return nil }
      parameters.append((name, value))
    }
  }

  /// Compared without case.
  func isNamed(_ wanted: String) -> Bool { Self.equal(name, wanted) }

  func count(_ name: String) -> Int { parameters.count { Self.equal($0.name, name) } }

  /// The parameter's value, nil where it is absent or given twice.
  func single(_ name: String) -> String? {
    count(name) == 1 ? parameters.first { Self.equal($0.name, name) }?.value : nil
  }

  private static func equal(_ left: String, _ right: String) -> Bool {
    HTTPFields.equal(Array(left.utf8)[...], right)
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    ByteClass.token.contains(byte) || byte == UInt8(ascii: "/")
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    ByteClass.isFieldCharacter(byte) && byte != UInt8(ascii: ";") && byte != UInt8(ascii: "\"")
  }

  private static func skipBlanks(_ rest: inout ArraySlice<UInt8>) {
    rest = rest.drop(while: ByteClass.isBlank)
  }

  /// One byte at least that is in the class.
  private static func word(_ rest: inout ArraySlice<UInt8>, _ isIn: (UInt8) -> Bool) -> String? {
    let word = rest.prefix(while: isIn)
    rest = rest[word.endIndex...]
    return word.isEmpty ? nil : String(decoding: word, as: UTF8.self)
  }

  private static func quoted(_ rest: inout ArraySlice<UInt8>) -> String? {
    rest.removeFirst()
    var bytes: [UInt8] = []
    while let byte = rest.popFirst() {
      switch (byte, rest.first) {
      case (UInt8(ascii: "\""), _): return String(decoding: bytes, as: UTF8.self)
      case (UInt8(ascii: "\\"), UInt8(ascii: "\"")), (UInt8(ascii: "\\"), UInt8(ascii: "\\")):
        bytes.append(rest.removeFirst())
      default: bytes.append(byte)
      }
    }
    return nil
  }
}
