internal import Foundation
internal import Store

/// Checks of a machine, a model folder and a store, for a person.
public enum Doctor {
  public struct Check: Sendable {
    public let name: String
    public let isHealthy: Bool
    public let detail: String
  }

  /// Instruction set, cores and memory.
  public static func machine() -> [Check] {
    let flags = Set(
      (read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("flags") } ?? "").split(
        separator: " "))
    let integers = flags.isSuperset(of: ["avx512f", "avx512bw", "avx512_vnni"])
    let pairs = integers && flags.contains("avx512_bf16")
    let set =
      integers
      ? (pairs ? "avx512bf16" : "avx512vnni")
      : flags.contains("avx512f") ? "avx512" : flags.contains("avx2") ? "avx2" : "scalar"
    let process = ProcessInfo.processInfo
    let memory = process.physicalMemory >> 20
    return [
      Check(
        name: "instruction set", isHealthy: true,
        detail: set == "scalar" ? "scalar: neither AVX2 nor AVX-512, expect a tenth of the speed" : set),
      Check(name: "cores", isHealthy: true, detail: "\(process.activeProcessorCount)"),
      Check(name: "memory", isHealthy: memory >= 512, detail: "\(memory) MiB"),
    ]
  }

  /// Whether the daemon would load the folder.
  public static func model(directory: String) -> Check {
    do throws(ServingError) {
      let model = try ModelInspection(directory: directory)
      return Check(
        name: "model", isHealthy: true,
        detail: "\(model.architecture), \(model.parameters) parameters, \(model.digest)")
    } catch {
      return Check(name: "model", isHealthy: false, detail: sentence(error))
    }
  }

  /// Whether the store opens, has our schema and can be read. A store that a daemon has open is refused.
  public static func store(path: String) async -> Check {
    guard FileManager.default.fileExists(atPath: path) else {
      return Check(name: "store", isHealthy: false, detail: "there is no file \(path)")
    }
    do throws(StoreError) {
      let store = try Store(
        path: path, now: { Int64(Date().timeIntervalSince1970 * 1_000) },
        makeID: { $0 + UUID().uuidString.lowercased() })
      let tasks = try await store.activeVersions().count
      let jobs = try await store.jobCounts().values.reduce(0, +)
      try store.close()
      return Check(name: "store", isHealthy: true, detail: "\(tasks) active tasks, \(jobs) jobs")
    } catch {
      return Check(name: "store", isHealthy: false, detail: "\(error)")
    }
  }

  /// An error for a person: the fields' sentences where it has fields.
  public static func sentence(_ error: ServingError) -> String {
    guard case .validation(let fields) = error else { return "\(error)" }
    return fields.map { "\($0.pointer): \($0.detail)" }.joined(separator: "; ")
  }

  private static func read(_ path: String) -> String {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }
}
