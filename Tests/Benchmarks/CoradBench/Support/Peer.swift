import Foundation

private struct PeerFailure: Decodable { let error: String? }

/// A Python child process that answers one JSON line for each JSON line; `Tests/Benchmarks/peers`.
final class Peer {
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private var buffer = Data()
  /// What the peer said of itself: versions and threads.
  private(set) var versions: [String: String] = [:]

  init(python: String, script: String, threads: Int, model: String) throws {
    process.executableURL = URL(fileURLWithPath: python)
    process.arguments = [
      Places.benchmarks.appendingPathComponent("peers/\(script)").path, "--threads", "\(threads)", "--model",
      model,
    ]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    struct Ready: Decodable {
      struct Versions: Decodable {
        let torch: String
        let transformers: String
        let threads: Int
      }
      let ready: Versions
    }
    let ready = try JSONDecoder().decode(Ready.self, from: line()).ready
    versions = ["torch": ready.torch, "transformers": ready.transformers, "threads": "\(ready.threads)"]
  }

  deinit { try? input.fileHandleForWriting.close() }

  /// - Throws: what the peer says went wrong, or that its answer does not decode.
  func call<Answer: Decodable>(_ request: some Encodable) throws -> Answer {
    var bytes = try JSONEncoder().encode(request)
    bytes.append(0x0A)
    try input.fileHandleForWriting.write(contentsOf: bytes)
    let answer = try line()
    if let error = try JSONDecoder().decode(PeerFailure.self, from: answer).error {
      throw BenchError("peer: \(error)")
    }
    return try JSONDecoder().decode(Answer.self, from: answer)
  }

  private func line() throws -> Data {
    while true {
      if let end = buffer.firstIndex(of: 0x0A) {
        let line = Data(buffer[..<end])
        buffer = Data(buffer[buffer.index(after: end)...])
        return line
      }
      let more = output.fileHandleForReading.availableData
      guard !more.isEmpty else { throw BenchError("the peer ended") }
      buffer.append(more)
    }
  }
}
