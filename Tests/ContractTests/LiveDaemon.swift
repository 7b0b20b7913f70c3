import Foundation
import HTTPWire

@testable import HTTPClient

/// `corad serve` as a child process on a port that it picks; killed when the value goes.
final class LiveDaemon {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Built beside the test bundle.
  static let binary = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("corad").path

  static let model =
    ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
    ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("models/all-MiniLM-L6-v2").path

  let url: String
  private let process = Process()
  private let logPath: String

  init(
    folder: String, name: String, _ arguments: [String], model: String = model,
    environment: [String: String] = [:]
  ) throws {
    logPath = "\(folder)/\(name).log"
    _ = FileManager.default.createFile(atPath: logPath, contents: nil)
    let log = FileHandle(forWritingAtPath: logPath)
    process.executableURL = URL(fileURLWithPath: Self.binary)
    process.arguments =
      ["serve", "--model", model, "--store", folder + "/corad.sqlite", "--listen", "127.0.0.1:0"]
      + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = log
    process.standardError = log
    try process.run()
    while true {
      let lines = try String(contentsOfFile: logPath, encoding: .utf8).split(separator: "\n")
      if let line = lines.first(where: { $0.hasPrefix("listening on http") }) {
        url = String(line.dropFirst(13))
        return
      }
      guard process.isRunning else {
        throw Failure(description: "the daemon ended:\n" + lines.joined(separator: "\n"))
      }
      usleep(10_000)
    }
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  /// Sends SIGTERM.
  func terminate() { process.terminate() }

  /// Waits for the end.
  ///
  /// - Returns: the exit code, negative for a signal.
  func end() -> Int32 {
    process.waitUntilExit()
    return process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
  }

  var log: String { (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? "" }
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
