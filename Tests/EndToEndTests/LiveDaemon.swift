import Foundation
import HTTPClient
import HTTPWire
import Synchronization
import Testing

/// The real `corad serve` as a child process, on ports that it picks itself. It is killed when the value goes.
final class LiveDaemon: Sendable {
  /// How the process ended.
  enum Ending: Sendable, Equatable {
    case exit(Int32)
    case signal(Int32)
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Built beside the test bundle; `CORAD_BINARY` names another.
  static let binary =
    ProcessInfo.processInfo.environment["CORAD_BINARY"]
    ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    .appendingPathComponent("corad").path

  static let model =
    ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
    ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("models/all-MiniLM-L6-v2").path

  let processID: Int32
  private let process: Process
  private let launched = ContinuousClock.now
  private let listeners: Int
  private let ending: Task<Ending, Never>
  private let logPath: String
  /// Where this daemon's lines begin in the log.
  private let logStart: UInt64
  private let found = Mutex<[String]>([])

  /// Starts the daemon and waits until it listens on every address.
  ///
  /// - Parameters:
  ///   - folder: what it writes to standard output and error is kept here, in `daemon.log`, appended.
  ///   - environment: added to the test's own.
  /// - Throws: `Failure` with its log where it ends before, or takes longer than `seconds`.
  static func start(
    store: String, folder: String, model: String = model, listen: [String] = ["127.0.0.1:0"],
    arguments: [String] = [], environment: [String: String] = [:], seconds: Double = 120
  ) async throws -> LiveDaemon {
    let daemon = try LiveDaemon(
      store: store, folder: folder, model: model, listen: listen, arguments: arguments,
      environment: environment)
    try await daemon.listening(seconds: seconds)
    return daemon
  }

  /// Starts the process alone.
  init(
    store: String, folder: String, model: String = model, listen: [String] = ["127.0.0.1:0"],
    arguments: [String] = [], environment: [String: String] = [:]
  ) throws {
    process = Process()
    process.executableURL = URL(fileURLWithPath: Self.binary)
    process.arguments =
      ["serve", "--model", model, "--store", store] + listen.flatMap { ["--listen", $0] } + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    listeners = listen.count
    logPath = folder + "/daemon.log"
    if !FileManager.default.fileExists(atPath: logPath) {
      try Data().write(to: URL(fileURLWithPath: logPath))
    }
    guard let output = FileHandle(forWritingAtPath: logPath) else {
      throw Failure(description: "no file \(logPath)")
    }
    logStart = try output.seekToEnd()
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = output
    let (stream, continuation) = AsyncStream<Ending>.makeStream()
    process.terminationHandler = { process in
      let status = process.terminationStatus
      continuation.yield(process.terminationReason == .exit ? .exit(status) : .signal(status))
      continuation.finish()
    }
    try process.run()
    processID = process.processIdentifier
    ending = Task {
      for await ending in stream { return ending }
      return .exit(-1)
    }
  }

  deinit { if process.isRunning { Foundation.kill(processID, SIGKILL) } }

  /// Waits for its lines `listening on URL`.
  ///
  /// - Returns: seconds since the process was started.
  @discardableResult func listening(seconds: Double = 120) async throws -> Double {
    while true {
      let lines = try Self.text(of: logPath, from: logStart)
        .split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      let addresses = lines.filter { $0.hasPrefix("listening on ") }.map { String($0.dropFirst(13)) }
      let elapsed = (ContinuousClock.now - launched) / .seconds(1)
      if addresses.count == listeners {
        found.withLock { $0 = addresses }
        return elapsed
      }
      guard process.isRunning, elapsed < seconds else {
        signal(SIGKILL)
        let ending = await ended()
        throw Failure(
          description: "the daemon does not listen (\(ending) after \(elapsed) s):\n"
            + lines.joined(separator: "\n"))
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// As printed, in the order of `listen`; empty before `listening` has returned.
  var addresses: [String] { found.withLock { $0 } }
  var isRunning: Bool { process.isRunning }
  /// Everything that daemons of this folder have written.
  var log: String { (try? Self.text(of: logPath, from: 0)) ?? "" }

  /// Waits for its end, whatever brings it.
  func ended() async -> Ending { await ending.value }

  func signal(_ number: Int32) { if process.isRunning { Foundation.kill(processID, number) } }

  /// SIGKILL, and its end.
  @discardableResult func kill() async -> Ending {
    signal(SIGKILL)
    return await ended()
  }

  /// SIGTERM, and its end; SIGKILL where it takes longer than `seconds`.
  @discardableResult func terminate(seconds: Double = 60) async -> Ending {
    signal(SIGTERM)
    let patience = Task {
      try await Task.sleep(for: .seconds(seconds))
      signal(SIGKILL)
    }
    let ending = await ended()
    patience.cancel()
    return ending
  }

  /// A client of the first address; one owner, blocking.
  func client(timeout: Duration = .seconds(60), fields: [(String, String)] = []) throws -> HTTPClient {
    try HTTPClient(url: addresses.first ?? "", timeout: timeout, fields: fields)
  }

  /// One request on a connection of its own, away from the pool of async tasks. A body is JSON unless `fields` say else.
  func send(
    _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], body: String? = nil,
    timeout: Duration = .seconds(60)
  ) async throws -> Answer {
    let address = addresses.first ?? ""
    return try await blocking {
      let client = try HTTPClient(url: address, timeout: timeout)
      var fields = fields
      if body != nil, !fields.contains(where: { $0.0.lowercased() == "content-type" }) {
        fields.append(("Content-Type", "application/json"))
      }
      return try Answer(client.send(method, path, fields: fields, body: body.map { Array($0.utf8) }))
    }
  }

  private static func text(of path: String, from offset: UInt64) throws -> String {
    guard let file = FileHandle(forReadingAtPath: path) else { return "" }
    defer { try? file.close() }
    try file.seek(toOffset: offset)
    return String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
  }
}

/// Runs what blocks on a thread of its own.
func blocking<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    Thread { continuation.resume(with: Result { try work() }) }.start()
  }
}

/// An answer with its JSON body, `.null` where it is none.
struct Answer: Sendable {
  let status: Int
  let fields: HTTPFields
  let body: [UInt8]
  let json: JSON

  init(_ response: ClientResponse) throws {
    status = response.status
    fields = response.fields
    body = response.body
    json = (try? JSONDecoder().decode(JSON.self, from: Data(response.body))) ?? .null
  }

  var text: String { String(decoding: body, as: UTF8.self) }
}

/// JSON to look into: what is missing is `.null`.
enum JSON: Decodable, Sendable, Equatable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  init(from decoder: any Decoder) throws {
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

  subscript(name: String) -> JSON {
    if case .object(let members) = self { members[name] ?? .null } else { .null }
  }
  subscript(index: Int) -> JSON {
    if case .array(let items) = self, items.indices.contains(index) { items[index] } else { .null }
  }
  var string: String? { if case .string(let value) = self { value } else { nil } }
  var double: Double? { if case .number(let value) = self { value } else { nil } }
  var int: Int? { double.flatMap(Int.init(exactly:)) }
  var items: [JSON] { if case .array(let items) = self { items } else { [] } }
}

/// A folder that goes with the process: a test may let the value go while a daemon works in it.
final class TemporaryFolder: Sendable {
  private static let living = Mutex<Set<String>>([])
  private static let atEnd: Void = {
    _ = atexit {
      for path in TemporaryFolder.living.withLock({ $0 }) {
        try? FileManager.default.removeItem(atPath: path)
      }
    }
  }()

  let path: String

  init() throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("corad-\(UUID().uuidString)")
      .path
    self.path = path
    Self.atEnd
    Self.living.withLock { _ = $0.insert(path) }
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
}

/// A store with the default subspace and nothing else, made once by a real first start.
actor FirstStart {
  static let shared = FirstStart()
  private var folder: TemporaryFolder?

  /// Copies it to `store`.
  func copy(to store: String) async throws {
    if folder == nil {
      let made = try TemporaryFolder()
      let daemon = try await LiveDaemon.start(store: made.path + "/first.sqlite", folder: made.path)
      let ending = await daemon.terminate()
      guard ending == .exit(0) else { throw LiveDaemon.Failure(description: "\(ending): \(daemon.log)") }
      folder = made
    }
    guard let folder else { return }
    try FileManager.default.copyItem(atPath: folder.path + "/first.sqlite", toPath: store)
  }
}
