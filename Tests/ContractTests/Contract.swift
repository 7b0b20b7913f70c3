import Foundation

@testable import API

/// `openapi.yaml`: its operations, and whether an answer is one that it promises.
struct Contract: Sendable {
  struct Operation: Sendable {
    let id: String
    let method: String
    let path: String
    fileprivate let responses: JSONValue?

    var isOpenAI: Bool { path.hasPrefix("/v1/") }
  }

  let operations: [String: Operation]
  private let validator: SchemaValidator

  static var yaml: String {
    get throws {
      let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
      return try String(contentsOf: root.appendingPathComponent("openapi.yaml"), encoding: .utf8)
    }
  }

  static func load() async throws -> Contract {
    Contract(try JSONReader.read(try await ContractDocument(yaml: yaml).json()))
  }

  private init(_ root: JSONValue) {
    validator = SchemaValidator(root: root)
    var operations: [String: Operation] = [:]
    for path in root["paths"]?.members ?? [] {
      for method in path.value.members {
        guard let id = method.value["operationId"]?.string else { continue }
        operations[id] = Operation(
          id: id, method: method.name.uppercased(), path: path.name, responses: method.value["responses"])
      }
    }
    self.operations = operations
  }

  /// The codes that the operations' answers may carry.
  var codes: Set<String> {
    var codes: Set<String> = []
    for operation in operations.values {
      for response in operation.responses?.members ?? [] {
        let schema = validator.resolved(response.value)["content"]?["application/problem+json"]?["schema"]
        for part in schema?["allOf"]?.array ?? [] {
          codes.formUnion(part["properties"]?["code"]?["enum"]?.array?.compactMap(\.string) ?? [])
        }
      }
    }
    return codes
  }

  /// The same of OpenAI's routes, whose errors have another form.
  var openAICodes: Set<String> {
    var codes: Set<String> = []
    for operation in operations.values where operation.isOpenAI {
      for response in operation.responses?.members ?? [] {
        let schema = validator.resolved(response.value)["content"]?["application/json"]?["schema"]
        for part in schema?["allOf"]?.array ?? [] {
          let code = part["properties"]?["error"]?["properties"]?["code"]
          codes.formUnion(code?["enum"]?.array?.compactMap(\.string) ?? [])
        }
      }
    }
    return codes
  }

  /// What is wrong with an answer, nothing where it is as promised.
  func faults(_ operation: Operation, status: Int, contentType: String?, body: [UInt8]) -> [String] {
    guard let response = operation.responses?["\(status)"].map(validator.resolved) else {
      return ["\(status) is not documented"]
    }
    guard let content = response["content"] else { return body.isEmpty ? [] : ["a body is not documented"] }
    let type = contentType.map { String($0.prefix { $0 != ";" }) }
    guard let type, let schema = content[type]?["schema"] else {
      return ["\(contentType ?? "no type") is not documented"]
    }
    switch type {
    case "application/json", "application/problem+json":
      do throws(JSONError) {
        return validator.faults(try JSONReader.read(body), schema, at: "")
      } catch {
        return ["is no JSON: \(error)"]
      }
    // Text, YAML, events and raw tensors: the test that asked for them looks inside.
    default: return []
    }
  }

  /// The same of a named schema.
  func faults(_ value: JSONValue, schema name: String) -> [String] {
    validator.faults(
      value, .object([JSONMember("$ref", .string("#/components/schemas/\(name)"))]), at: "")
  }
}

extension JSONValue {
  var members: [JSONMember] {
    if case .object(let members) = self { members } else { [] }
  }
}
