import Foundation
import Glibc

/// A server in a process of its own: it prints its port, answers, and ends with its standard input. Pinned to the first
/// core where the machine has two or more; the load has the others.
final class ServedProcess {
  private static let cores = ProcessInfo.processInfo.activeProcessorCount

  private let process = Process()
  private let input = Pipe()
  private let clock: clockid_t
  let port: String

  init(_ program: String, _ arguments: [String]) throws {
    let output = Pipe()
    let command = Self.pinned(to: "0", program, arguments)
    process.executableURL = URL(fileURLWithPath: command[0])
    process.arguments = Array(command.dropFirst())
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    var line = Data()
    while line.last != 0x0A {
      let more = output.fileHandleForReading.availableData
      guard !more.isEmpty else { throw BenchError("\(program) ended before it listened") }
      line.append(more)
    }
    port = String(decoding: line, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    var clock = clockid_t()
    guard clock_getcpuclockid(process.processIdentifier, &clock) == 0 else {
      throw BenchError("no CPU clock of \(program)")
    }
    self.clock = clock
  }

  /// User and system time of all its threads.
  var cpuSeconds: Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }

  func end() {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  /// The command on some cores; as it is where there is one core, or no taskset.
  static func pinned(to cores: String, _ program: String, _ arguments: [String]) -> [String] {
    let taskset = "/usr/bin/taskset"
    guard self.cores > 1, FileManager.default.isExecutableFile(atPath: taskset) else {
      return [program] + arguments
    }
    return [taskset, "-c", cores, program] + arguments
  }

  /// The cores that the server leaves.
  static var loadCores: String { "1-\(max(cores - 1, 1))" }
}
