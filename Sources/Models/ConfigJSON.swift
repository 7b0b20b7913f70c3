internal import Foundation

/// What both families' configs have in common: how the file is read, and what a size may be.
enum ConfigJSON {
  /// Largest value of a size; a product of any three stays far below 2^63.
  static let limitSize = 1 << 20

  /// - Throws: `.malformed` with the field whose type is wrong.
  static func decode<Value: Decodable>(
    _ type: Value.Type, _ bytes: [UInt8], file: String = "config.json"
  ) throws(ModelError) -> Value {
    do {
      return try JSONDecoder().decode(type, from: Data(bytes))
    } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context) {
      throw .malformed(file: file, field: context.codingPath.first?.stringValue)
    } catch {
      throw .malformed(file: file, field: nil)
    }
  }

  static func size(_ value: Int?, _ field: String) throws(ModelError) -> Int {
    guard let value else { throw .missingSetting(field: field) }
    guard (1...limitSize).contains(value) else { throw .settingOutOfRange(field: field, value: value) }
    return value
  }

  /// A number that must be finite and inside `range`.
  static func number(_ value: Double, _ field: String, in range: ClosedRange<Double>) throws(ModelError)
    -> Double
  {
    guard value.isFinite, range.contains(value) else {
      throw .unsupportedSetting(field: field, value: "\(value)")
    }
    return value
  }
}
