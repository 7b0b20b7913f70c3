internal import Serving

/// A field of OpenAI's schema that would change the answer and is not supported.
struct UnsupportedField: Sendable {
  let name: String
  /// The value that asks for nothing, in words.
  let neutral: String
  let isNeutral: @Sendable (JSONValue) -> Bool

  init(
    _ name: String, neutral: String = "absent",
    _ isNeutral: @escaping @Sendable (JSONValue) -> Bool = { _ in false }
  ) {
    self.name = name
    self.neutral = neutral
    self.isNeutral = isNeutral
  }
}

extension ObjectDecoder {
  /// An object of OpenAI's schema. Its clients write null for a field that is left out.
  ///
  /// - Parameters:
  ///   - taken: what the caller reads.
  ///   - neutral: what changes nothing here: taken and not looked at.
  ///   - unsupported: refused by name unless it asks for nothing.
  init?(
    openAI value: JSONValue, pointer: String, taken: [String], neutral: [String] = [],
    unsupported: [UnsupportedField] = [], errors: FieldCollector
  ) {
    self.init(
      value, pointer: pointer, allowed: taken + neutral + unsupported.map(\.name), errors: errors,
      nullIsAbsent: true)
    for field in unsupported {
      guard let value = self.value(field.name), !field.isNeutral(value) else { continue }
      errors.add(self.pointer(field.name), "is not supported", allowed: field.neutral)
    }
  }

  /// A number in a range, compared before it is rounded to float32.
  func float(_ name: String, in range: ClosedRange<Double>) -> Float? {
    guard let value = value(name) else { return nil }
    guard case .number(let number) = value else {
      wrongType(name, value, "a number")
      return nil
    }
    if range.contains(number.double) { return number.float }
    errors.add(pointer(name), "is out of range", allowed: "\(range.lowerBound) through \(range.upperBound)")
    return nil
  }

  /// The name of a model; nil where it is missing or no text, which is in the collector.
  func model() -> String? { text("model", limitBytes: Limits.tokenBytes) }
}
