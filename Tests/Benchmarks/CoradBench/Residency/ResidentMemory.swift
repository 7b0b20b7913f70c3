import Foundation
import Glibc

/// What the kernel says of this process's memory, after the allocator gave back what it could.
struct ResidentMemory: Codable {
  /// All resident pages, those of mapped files included.
  let resident: Int
  /// Pages that are the process's own: no file stands behind them, so the kernel cannot drop them.
  let anonymous: Int

  static func now() throws -> ResidentMemory {
    trim()
    let text = try String(contentsOfFile: "/proc/self/smaps_rollup", encoding: .utf8)
    func bytes(_ name: String) throws -> Int {
      let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
      guard let kilobytes = line?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
        throw BenchError("smaps_rollup has no \(name)")
      }
      return kilobytes << 10
    }
    return ResidentMemory(resident: try bytes("Rss"), anonymous: try bytes("Anonymous"))
  }

  /// The most that was ever resident, in bytes.
  static func peak() throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    let words = line?.split(whereSeparator: { $0 == " " || $0 == "\t" }) ?? []
    guard words.count > 1, let kilobytes = Int(words[1]) else { throw BenchError("status has no VmHWM") }
    return kilobytes << 10
  }

  /// malloc_trim(3), which no module map of glibc has.
  private static func trim() {
    guard let symbol = dlsym(nil, "malloc_trim") else { return }
    _ = unsafeBitCast(symbol, to: (@convention(c) (Int) -> Int32).self)(0)
  }
}
