extension JSONWriter {
  /// A value as it was read: members in order, numbers as written.
  public mutating func value(_ value: JSONValue) {
    switch value {
    case .null: null()
    case .bool(let flag): self.value(flag)
    case .number(let number): raw(number.text)
    case .string(let text): self.value(text)
    case .array(let elements): array(elements) { writer, element in writer.value(element) }
    case .object(let members):
      object { writer in
        for member in members {
          writer.name(member.name)
          writer.value(member.value)
        }
      }
    }
  }
}
