internal import Foundation

/// A JSON value as commands show and send it.
enum JSON: Codable, Sendable, Equatable {
  case null
  case bool(Bool)
  case int(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  init(bytes: [UInt8]) throws { self = try JSONDecoder().decode(JSON.self, from: Data(bytes)) }

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if value.decodeNil() {
      self = .null
    } else if let bool = try? value.decode(Bool.self) {
      self = .bool(bool)
    } else if let int = try? value.decode(Int.self) {
      self = .int(int)
    } else if let number = try? value.decode(Double.self) {
      self = .number(number)
    } else if let string = try? value.decode(String.self) {
      self = .string(string)
    } else if let array = try? value.decode([JSON].self) {
      self = .array(array)
    } else {
      self = .object(try value.decode([String: JSON].self))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var value = encoder.singleValueContainer()
    switch self {
    case .null: try value.encodeNil()
    case .bool(let bool): try value.encode(bool)
    case .int(let int): try value.encode(int)
    case .number(let number): try value.encode(number)
    case .string(let string): try value.encode(string)
    case .array(let array): try value.encode(array)
    case .object(let object): try value.encode(object)
    }
  }

  func encoded() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return [UInt8](try encoder.encode(self))
  }

  subscript(_ member: String) -> JSON? {
    guard case .object(let members) = self, let value = members[member], value != .null else { return nil }
    return value
  }

  var string: String? { if case .string(let string) = self { string } else { nil } }
  var int: Int? { if case .int(let int) = self { int } else { nil } }
  var array: [JSON]? { if case .array(let array) = self { array } else { nil } }
  var double: Double? {
    switch self {
    case .int(let int): Double(int)
    case .number(let number): number
    default: nil
    }
  }

  /// For a cell of a table.
  var text: String {
    switch self {
    case .null: "-"
    case .bool(let bool): bool ? "yes" : "no"
    case .int(let int): String(int)
    case .number(let number): String(format: "%.4g", number)
    case .string(let string): string
    case .array(let array): array.map(\.text).joined(separator: ",")
    case .object(let object):
      object.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.text)" }.joined(separator: " ")
    }
  }
}
