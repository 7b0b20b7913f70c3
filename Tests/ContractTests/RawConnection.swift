import DaemonSupport
import Foundation
import HTTPWire

@testable import HTTPClient

extension LiveDaemon {
  /// Starts one of the daemons that take turns on a folder's store; each has a log of its own.
  static func start(
    in folder: String, _ name: String, _ arguments: [String] = [], model: String = LiveDaemon.model,
    environment: [String: String] = [:]
  ) async throws -> LiveDaemon {
    let log = folder + "/" + name
    try FileManager.default.createDirectory(atPath: log, withIntermediateDirectories: true)
    return try await start(
      store: folder + "/corad.sqlite", folder: log, model: model, arguments: arguments,
      environment: environment)
  }
}

/// A connection that sends bytes as they are.
final class RawConnection {
  private let connection: ClientConnection
  private let deadline = Deadline(after: .seconds(60))

  init(_ url: String) throws {
    connection = try ClientConnection(Endpoint(url), trust: .system, deadline: deadline)
  }

  func send(_ text: String) throws { try connection.send(Array(text.utf8)[...], deadline: deadline) }

  /// One answer, whole.
  func answer(to method: HTTPMethod = .get) throws -> ClientResponse {
    var parser = ResponseParser(method: method)
    var head: HTTPResponseHead?
    var body: [UInt8] = []
    while true {
      switch try parser.next() {
      case .head(let found): head = found
      case .body(let bytes): body += bytes
      case .end:
        guard let head else { throw LiveDaemon.Failure(description: "an answer without a head") }
        return ClientResponse(status: head.status, fields: head.fields, body: body)
      case .needMore:
        let bytes = try connection.receive(deadline: deadline)
        if bytes.isEmpty { parser.finish() } else { parser.append(bytes) }
      }
    }
  }
}
