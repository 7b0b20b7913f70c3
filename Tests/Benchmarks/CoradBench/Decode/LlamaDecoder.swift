import Foundation
import HTTPClient
import HTTPWire

/// llama.cpp's binaries, without which it is not compared.
struct LlamaBinaries {
  let server: String
  let bench: String

  /// - Throws: when only one of them is named, or what is named cannot be run.
  init?(server: String?, bench: String?) throws {
    guard server != nil || bench != nil else { return nil }
    guard let server, let bench else { throw BenchError("--llama-server and --llama-bench go together") }
    for path in [server, bench] where !FileManager.default.isExecutableFile(atPath: path) {
      throw BenchError("\(path) cannot be run")
    }
    self.server = server
    self.bench = bench
  }
}

/// llama.cpp on the processor, over the same weights in a GGUF file (`data/make_gguf.py`). One stream is `llama-bench`'s,
/// which draws its own tokens and chooses none; several are `llama-server`'s, timed as their tokens arrive, and so is one in
/// float32, whose cache `llama-bench` does not know.
final class LlamaDecoder {
  private let binaries: LlamaBinaries
  private let common: [String]
  private let benchKnows: Bool
  private let server: LlamaServer
  /// What the server says of its build.
  let version: String

  /// - Parameters:
  ///   - element: `float32` or `bfloat16`, of the weights. The cache of keys and values is float32 or, as llama.cpp has
  ///     it of itself, float16.
  ///   - streams: that run at once, at most.
  ///   - contextTokens: of one stream.
  init(
    _ binaries: LlamaBinaries, model: String, threads: Int, element: String, streams: Int, contextTokens: Int
  ) throws {
    self.binaries = binaries
    version = try Places.output("/bin/sh", ["-c", #""$1" --version 2>&1"#, "sh", binaries.server])
    benchKnows = element != "float32"
    let cache = benchKnows ? "f16" : "f32"
    common = ["-m", model, "-t", "\(threads)", "-dev", "none", "-ctk", cache, "-ctv", cache]
    server = try LlamaServer(
      binaries.server, common + ["-np", "\(streams)", "-c", "\(streams * contextTokens)", "-cram", "0"])
  }

  /// - Parameters:
  ///   - prompts: of one length, a stream each.
  ///   - steps: tokens of a stream after its first one.
  func decode(_ prompts: [[Int32]], steps: Int) throws -> DecodeTimes {
    guard prompts.count == 1, benchKnows else { return try server.decode(prompts, steps: steps) }
    let tokens = prompts[0].count
    let prompt = try bench(["-p", "\(tokens)", "-n", "0"])
    let decode = try bench(["-p", "0", "-n", "\(steps)", "-d", "\(tokens)"])
    return DecodeTimes(
      promptSeconds: prompt, promptTokens: tokens, decodeSeconds: decode, decodeTokens: steps)
  }

  /// So many tokens after each prompt, the most probable ones.
  func greedy(_ prompts: [[Int32]], count: Int) throws -> [[Int32]] {
    let arrivals = try server.complete(prompts, count: count)
    return prompts.indices.map { stream in arrivals.filter { $0.stream == stream }.flatMap(\.tokens) }
  }

  func end() { server.end() }

  private struct Bench: Decodable {
    let nanoseconds: [Double]

    enum CodingKeys: String, CodingKey { case nanoseconds = "samples_ns" }
  }

  /// Seconds of one repetition, after a warm-up.
  private func bench(_ arguments: [String]) throws -> Double {
    let text = try Places.output(binaries.bench, common + ["-r", "1", "-o", "json"] + arguments)
    let tests = try JSONDecoder().decode([Bench].self, from: Data(text.utf8))
    guard tests.count == 1, let time = tests[0].nanoseconds.first else {
      throw BenchError("llama-bench measured \(tests.count) tests")
    }
    return time / 1e9
  }
}

/// `llama-server` on a socket of its own until `end`.
private final class LlamaServer {
  private static let patience = Duration.seconds(600)
  /// Runs its arguments until its own input ends, as it does when the bench is killed.
  private static let kept = #"exec 3<&0; "$@" & server=$!; { cat <&3 >&2; kill $server; } & wait $server"#

  private let process = Process()
  private let input = Pipe()
  private let folder: URL
  private let client: HTTPClient

  init(_ program: String, _ arguments: [String]) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("corad-bench-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let socket = folder.appendingPathComponent("llama.sock").path
    client = try HTTPClient(url: "unix:" + socket, timeout: Self.patience)
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments =
      ["-c", Self.kept, "sh", program] + arguments + ["--host", socket, "--no-warmup", "-lv", "1"]
    process.standardInput = input
    process.standardOutput = FileHandle.nullDevice
    try Self.run(process)
    let deadline = ContinuousClock.now + Self.patience
    while (try? client.send(.get, "/health").status) != 200 {
      guard process.isRunning, ContinuousClock.now < deadline else {
        end()
        throw BenchError("llama-server does not answer")
      }
      Thread.sleep(forTimeInterval: 0.05)
    }
  }

  /// A child has its thread's mask, and the threads of Swift's tasks block what ends a process and what tells a shell of a
  /// child's end.
  private static func run(_ process: Process) throws {
    var (none, before) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try process.run()
  }

  func end() {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
    try? FileManager.default.removeItem(at: folder)
  }

  private struct Completion: Encodable {
    let prompt: [[Int32]]
    let count: Int
    let temperature = 0
    let samplers = ["top_k"]
    let top = 1
    let ignoresEnd = true
    let cachesPrompt = false
    let streams = true
    let returnsTokens = true

    enum CodingKeys: String, CodingKey {
      case prompt, temperature, samplers
      case count = "n_predict"
      case top = "top_k"
      case ignoresEnd = "ignore_eos"
      case cachesPrompt = "cache_prompt"
      case streams = "stream"
      case returnsTokens = "return_tokens"
    }
  }

  private struct Piece: Decodable {
    let index: Int
    let tokens: [Int32]
  }

  struct Arrival {
    let at: ContinuousClock.Instant
    /// Of the prompt.
    let stream: Int
    let tokens: [Int32]
  }

  /// Every stream's tokens as they arrive. They are decoded after the last one, which takes no time from the server.
  func complete(_ prompts: [[Int32]], count: Int) throws -> [Arrival] {
    let body = try JSONEncoder().encode(Completion(prompt: prompts, count: count))
    var events: [(at: ContinuousClock.Instant, data: [UInt8])] = []
    try client.events(
      posting: [UInt8](body), to: "/completion", fields: [("Content-Type", "application/json")]
    ) { event in
      events.append((.now, event.data))
      return true
    }
    let decoder = JSONDecoder()
    // The first event, sent before there is a token, is null.
    let arrivals = try events.compactMap { event in
      try decoder.decode(Piece?.self, from: Data(event.data)).map {
        Arrival(at: event.at, stream: $0.index, tokens: $0.tokens)
      }
    }
    return arrivals.filter { !$0.tokens.isEmpty }
  }

  func decode(_ prompts: [[Int32]], steps: Int) throws -> DecodeTimes {
    let started = ContinuousClock.now
    let arrivals = try complete(prompts, count: steps + 1)
    let times = prompts.indices.map { stream in arrivals.filter { $0.stream == stream }.map(\.at) }
    guard times.allSatisfy({ $0.count == steps + 1 }) else { throw BenchError("a stream ended early") }
    return DecodeTimes(started: started, times: times, promptTokens: prompts.reduce(0) { $0 + $1.count })
  }
}
