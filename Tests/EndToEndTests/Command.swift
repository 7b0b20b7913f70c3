import DaemonSupport
import Foundation

/// A program run to its end, with what it wrote.
struct Command: Sendable {
  let status: Int32
  let output: String
  let errors: String

  /// `corad` with arguments, blocking; at most `seconds`, then it is killed and the status is -1.
  static func corad(
    _ arguments: [String], input: String = "", environment: [String: String] = [:], seconds: Double = 120
  ) throws -> Command {
    try run([LiveDaemon.binary] + arguments, input: input, environment: environment, seconds: seconds)
  }

  static func run(
    _ words: [String], input: String = "", environment: [String: String] = [:], folder: String? = nil,
    seconds: Double = 120
  ) throws -> Command {
    let files = try TemporaryFolder()
    let paths = ["in", "out", "err"].map { files.path + "/" + $0 }
    try Data(input.utf8).write(to: URL(fileURLWithPath: paths[0]))
    for path in paths.dropFirst() { _ = FileManager.default.createFile(atPath: path, contents: nil) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: words[0].contains("/") ? words[0] : "/usr/bin/env")
    process.arguments = words[0].contains("/") ? Array(words.dropFirst()) : words
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    process.standardInput = FileHandle(forReadingAtPath: paths[0])
    process.standardOutput = FileHandle(forWritingAtPath: paths[1])
    process.standardError = FileHandle(forWritingAtPath: paths[2])
    try process.run()
    let end = ContinuousClock.now + .seconds(seconds)
    var isLate = false
    while process.isRunning {
      if ContinuousClock.now > end {
        isLate = true
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        break
      }
      usleep(5_000)
    }
    func text(_ path: String) throws -> String {
      String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
    }
    return Command(
      status: isLate
        ? -1 : process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus,
      output: try text(paths[1]), errors: try text(paths[2]))
  }

  /// Standard output as one JSON value.
  var json: JSON { (try? JSONDecoder().decode(JSON.self, from: Data(output.utf8))) ?? .null }
}

/// Looks again until it holds; false after `seconds`, which is a failure and not a measure.
func eventually(seconds: Double = 60, _ condition: () async throws -> Bool) async rethrows -> Bool {
  let end = ContinuousClock.now + .seconds(seconds)
  while ContinuousClock.now < end {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(20))
  }
  return false
}
