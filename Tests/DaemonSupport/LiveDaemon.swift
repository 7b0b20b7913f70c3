internal import Foundation
public import HTTPClient
public import HTTPWire
internal import Synchronization

/// The real `corad serve` as a child process, on ports that it picks itself. It is killed when the value goes.
public final class LiveDaemon: Sendable {
  /// How the process ended.
  public enum Ending: Sendable, Equatable {
    case exit(Int32)
    case signal(Int32)
  }

  public struct Failure: Error, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
  }

  /// Built beside the test bundle; `CORAD_BINARY` names another.
  public static let binary =
    ProcessInfo.processInfo.environment["CORAD_BINARY"]
    ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    .appendingPathComponent("corad").path

  public static let model =
    ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
    ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("models/all-MiniLM-L6-v2").path

  public let processID: Int32
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
  public static func start(
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
  public init(
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
  @discardableResult public func listening(seconds: Double = 120) async throws -> Double {
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
  public var addresses: [String] { found.withLock { $0 } }
  public var isRunning: Bool { process.isRunning }
  /// The first address.
  public var url: String { addresses.first ?? "" }
  /// Everything that daemons of this folder have written.
  public var log: String { (try? Self.text(of: logPath, from: 0)) ?? "" }

  /// Waits for its end, whatever brings it.
  public func ended() async -> Ending { await ending.value }

  public func signal(_ number: Int32) { if process.isRunning { Foundation.kill(processID, number) } }

  /// SIGKILL, and its end.
  @discardableResult public func kill() async -> Ending {
    signal(SIGKILL)
    return await ended()
  }

  /// SIGTERM, and its end; SIGKILL where it takes longer than `seconds`.
  @discardableResult public func terminate(seconds: Double = 60) async -> Ending {
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
  public func client(timeout: Duration = .seconds(60), fields: [(String, String)] = []) throws -> HTTPClient {
    try HTTPClient(url: url, timeout: timeout, fields: fields)
  }

  /// One request on a connection of its own, away from the pool of async tasks. A body is JSON unless `fields` say else.
  public func send(
    _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], body: String? = nil,
    timeout: Duration = .seconds(60)
  ) async throws -> Answer {
    let address = url
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
public func blocking<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    Thread { continuation.resume(with: Result { try work() }) }.start()
  }
}
