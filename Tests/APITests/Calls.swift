import HTTPWire
import Logging
import Synchronization
import Testing

@testable import API

/// A request through the handler, in memory.
struct Answer {
  let status: Int
  let fields: [(String, String)]
  let bytes: [UInt8]

  var text: String { String(decoding: bytes, as: UTF8.self) }
  var json: JSONValue? { try? JSONReader.read(bytes) }
  /// Of a problem object, or of OpenAI's error.
  var code: String? { problem?["code"]?.string }
  var problem: JSONValue? { json?["error"] ?? json }
  /// The pointers of a validation's errors.
  var pointers: [String] { problem?["errors"]?.array?.compactMap { $0["pointer"]?.string } ?? [] }

  subscript(field: String) -> String? {
    fields.first { $0.0.lowercased() == field.lowercased() }?.1
  }
}

final class MemoryWriter: ResponseWriter {
  let bytes = Mutex<[UInt8]>([])
  func write(_ more: [UInt8]) async throws(WireError) { bytes.withLock { $0 += more } }
}

func handler(
  _ node: StubNode = StubNode(), _ change: (inout APIConfiguration) -> Void = { _ in }
) -> APIHandler {
  var configuration = APIConfiguration()
  change(&configuration)
  return APIHandler(
    node: node, configuration: configuration, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
    openAPIYAML: "openapi: 3.1.0\n")
}

extension APIHandler {
  func send(
    _ method: HTTPMethod, _ target: String, _ body: String? = nil, _ fields: [(String, String)] = [],
    type: String = "application/json"
  ) async throws -> Answer {
    try await send(method, target, bytes: body.map { Array($0.utf8) }, fields, type: type)
  }

  func send(
    _ method: HTTPMethod, _ target: String, bytes: [UInt8]?, _ fields: [(String, String)] = [],
    type: String = "application/json"
  ) async throws -> Answer {
    var all = HTTPFields(fields)
    if let bytes {
      all.append("Content-Type", type)
      if !all.contains("transfer-encoding") { all.append("Content-Length", String(bytes.count)) }
    }
    let head = try HTTPRequestHead(method: method, target: target, fields: all)
    let response = await respond(to: HTTPRequest(head: head, body: HTTPBody(bytes ?? [])))
    switch response.body {
    case .empty: return Answer(status: response.status, fields: response.fields, bytes: [])
    case .bytes(let bytes): return Answer(status: response.status, fields: response.fields, bytes: bytes)
    case .stream(let produce):
      let writer = MemoryWriter()
      try await produce(writer)
      return Answer(
        status: response.status, fields: response.fields, bytes: writer.bytes.withLock { $0 })
    }
  }
}

/// SplitMix64: the same stream for the same seed everywhere.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
