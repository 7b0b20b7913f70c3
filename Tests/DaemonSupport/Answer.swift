internal import Foundation
public import HTTPClient
public import HTTPWire

/// An answer with its JSON body, `.null` where it is none.
public struct Answer: Sendable {
  public let status: Int
  public let fields: HTTPFields
  public let body: [UInt8]
  public let json: JSON

  public init(_ response: ClientResponse) throws {
    status = response.status
    fields = response.fields
    body = response.body
    json = (try? JSONDecoder().decode(JSON.self, from: Data(response.body))) ?? .null
  }

  public var text: String { String(decoding: body, as: UTF8.self) }
}

/// JSON to look into: what is missing is `.null`.
public enum JSON: Decodable, Sendable, Equatable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSON].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSON].self))
    }
  }

  public subscript(name: String) -> JSON {
    if case .object(let members) = self { members[name] ?? .null } else { .null }
  }
  public subscript(index: Int) -> JSON {
    if case .array(let items) = self, items.indices.contains(index) { items[index] } else { .null }
  }
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var double: Double? { if case .number(let value) = self { value } else { nil } }
  public var int: Int? { double.flatMap(Int.init(exactly:)) }
  public var items: [JSON] { if case .array(let items) = self { items } else { [] } }
}
