import Foundation
import Tensors

/// What ran where: stands in every result.
struct Provenance: Codable {
  var command = CommandLine.arguments.dropFirst().joined(separator: " ")
  var commit =
    (try? Places.output("/usr/bin/env", ["git", "-C", Places.benchmarks.path, "rev-parse", "HEAD"])) ?? ""
  var processor = Provenance.processorName()
  var cores = ProcessInfo.processInfo.activeProcessorCount
  var instructions = Kernels.instructionSet
  /// One-minute load when the run began: other work on the machine.
  var load = Provenance.load()
  var peers: [String: String] = [:]
  /// Of what the figure depends on; nil in results made before it was kept.
  var sources = SourceDigest.of(CommandLine.arguments.dropFirst().first)

  private static func processorName() -> String {
    let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = info.split(separator: "\n").first { $0.hasPrefix("model name") }
    return line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
  }

  private static func load() -> Double {
    let text = (try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8)) ?? ""
    return text.split(separator: " ").first.flatMap { Double($0) } ?? -1
  }
}

/// Writes results: beside the benchmarks when they are to be committed, else into the cache.
enum ResultFile {
  static func folder(record: Bool) -> URL {
    record
      ? Places.benchmarks.appendingPathComponent("results")
      : Places.cache.appendingPathComponent("bench-results")
  }

  /// What is committed; nil where nothing is.
  static func recorded<T: Decodable>(_ type: T.Type, _ name: String) throws -> T? {
    let path = folder(record: true).appendingPathComponent(name + ".json").path
    guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
    return try JSONDecoder().decode(type, from: bytes)
  }

  static func write(_ value: some Encodable, _ name: String, record: Bool, compact: Bool = false) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = compact ? [.sortedKeys] : [.sortedKeys, .prettyPrinted]
    try write(try encoder.encode(value) + Data("\n".utf8), name + ".json", record: record)
  }

  static func write(_ bytes: Data, _ name: String, record: Bool) throws {
    let folder = folder(record: record)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let path = folder.appendingPathComponent(name)
    try bytes.write(to: path, options: .atomic)
    say("written: \(path.path)")
    if record, name.hasSuffix(".json") {
      say("sources: \(SourceDigest.of(CommandLine.arguments.dropFirst().first) ?? "of no command")")
    }
  }
}
