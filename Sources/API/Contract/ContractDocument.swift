internal import Synchronization
internal import Yams

/// `openapi.yaml`, the one truth, and the same as JSON, made at the first request for it.
final class ContractDocument: Sendable {
  let yaml: [UInt8]
  private let made = Mutex<[UInt8]?>(nil)

  init(yaml: String) { self.yaml = Array(yaml.utf8) }

  func json() async throws(Problem) -> [UInt8] {
    if let made = made.withLock({ $0 }) { return made }
    let json = try await offLoop { [yaml] () async throws(Problem) in
      do {
        guard let node = try Yams.compose(yaml: String(decoding: yaml, as: UTF8.self)) else {
          throw Problem(.internal, cause: "the contract is empty")
        }
        var writer = JSONWriter(reserving: yaml.count * 2)
        try writer.value(node)
        return writer.bytes
      } catch let problem as Problem {
        throw problem
      } catch {
        throw Problem(.internal, cause: "the contract is no YAML: \(error)")
      }
    }
    made.withLock { $0 = json }
    return json
  }
}

extension JSONWriter {
  /// Members in the file's order, numbers as written. Plain scalars mean what YAML 1.2's JSON schema says (§10.2).
  fileprivate mutating func value(_ node: Yams.Node) throws(Problem) {
    switch node {
    case .scalar(let scalar):
      switch (scalar.style, scalar.string) {
      case (.plain, "null"), (.plain, "true"), (.plain, "false"): raw(scalar.string)
      case (.plain, let text) where JSONNumber(text) != nil: raw(text)
      default: value(scalar.string)
      }
    case .sequence(let sequence):
      try array(sequence) { writer, element throws(Problem) in try writer.value(element) }
    case .mapping(let mapping):
      try object { writer throws(Problem) in
        for (key, element) in mapping {
          guard case .scalar(let name) = key else { throw Problem(.internal, cause: "a key is no scalar") }
          writer.name(name.string)
          try writer.value(element)
        }
      }
    case .alias: throw Problem(.internal, cause: "an alias is left in the contract")
    }
  }
}
