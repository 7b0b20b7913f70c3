import ArgumentParser
import Foundation
import Glibc

/// CPU of the server's process for one request, against a bare epoll loop in C that reads and answers as many bytes.
/// 64 keep-alive connections, one loop each, metrics and request ids on; rounds alternate.
struct HTTPBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "http", abstract: "CPU for a request, against a bare epoll loop in C.")

  static let connections = 64
  /// With the real lane: a batch of these takes it most of a second.
  static let wholeConnections = 4

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Alternations.") var rounds = 25
  @Option(help: "Seconds of load in a round, each side.") var seconds = 0.3
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let result = try measure()
    try result.write(record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() throws -> HTTPResult {
    let model = try Places.model(model)
    let bench = try HTTPBench(model: model, rounds: rounds, seconds: seconds)
    var result = HTTPResult(rounds: rounds, connections: Self.connections)
    result.cases["livez"] = try bench.compare("livez", HTTPTraffic.get, .stubbed, limit: 2)
    result.cases["infer"] = try bench.compare("infer", HTTPTraffic.infer, .stubbed, limit: 3)
    result.cases["infer.tokeniser"] = try bench.compare(
      "infer, real tokeniser", HTTPTraffic.infer, .tokeniser, limit: nil)
    result.cases["infer.whole"] = try bench.compare(
      "infer, real tokeniser and lane", HTTPTraffic.infer, .whole, limit: nil, rounds: min(rounds, 3),
      connections: Self.wholeConnections)
    return result
  }
}

/// The two servers and the load.
private struct HTTPBench {
  private struct Load: Decodable {
    let requests: Int
    let failures: Int
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let body_bytes: Int
  }

  let model: String
  let rounds: Int
  let seconds: Double
  private let loop: String
  private let folder: URL

  init(model: String, rounds: Int, seconds: Double) throws {
    self.model = model
    self.rounds = rounds
    self.seconds = seconds
    folder = Places.cache.appendingPathComponent("bench-loop")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    loop = folder.appendingPathComponent("loop").path
    let source = Places.benchmarks.appendingPathComponent("peers/loop.c").path
    _ = try Places.output(
      "/bin/sh", ["-c", #"exec "$(command -v cc || command -v clang)" -O2 -o "$1" "$2""#, "sh", loop, source])
  }

  func compare(
    _ name: String, _ request: [UInt8], _ stages: ServedStages, limit: Double?, rounds: Int? = nil,
    connections: Int = HTTPBenchmark.connections
  ) throws -> HTTPMeasurement {
    let ours = try ServedProcess(
      Places.executable, ["http-server", "--model", model, "--stages", stages.rawValue])
    defer { ours.end() }
    // One round of ours says how long its answer is; the peer answers as much.
    let bodyBytes = try load(ours, request, connections).bodyBytes
    let peer = try ServedProcess(loop, ["serve", "\(request.count)", "\(bodyBytes)"])
    defer { peer.end() }
    _ = try load(peer, request, connections)
    var measured = HTTPMeasurement(requestBytes: request.count, answerBytes: bodyBytes, limit: limit)
    for _ in 0..<(rounds ?? self.rounds) {
      measured.add(
        ours: try load(ours, request, connections).cpu, peer: try load(peer, request, connections).cpu)
    }
    say(
      "\(name): \(measured.ours.median.text(2)) us of CPU a request, bare loop \(measured.peer.median.text(2)) us, "
        + "ratio \(measured.ratio.text(2)) (pairs \(measured.pairs.least.text(2)) to "
        + "\(measured.pairs.most.text(2)))" + (limit.map { ", at most \($0.text(0))" } ?? ""))
    return measured
  }

  /// Microseconds of the server's CPU per request.
  private func load(
    _ server: ServedProcess, _ request: [UInt8], _ connections: Int
  ) throws -> (cpu: Double, bodyBytes: Int) {
    let file = folder.appendingPathComponent("request-\(getpid())")
    try Data(request).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let command = ServedProcess.pinned(
      to: ServedProcess.loadCores, loop,
      ["load", server.port, "\(connections)", "\(seconds)", file.path])
    let before = server.cpuSeconds
    let text = try Places.output(command[0], Array(command.dropFirst()))
    let spent = server.cpuSeconds - before
    let load = try JSONDecoder().decode(Load.self, from: Data(text.utf8))
    guard load.failures == 0, load.requests > 0 else {
      throw BenchError("\(load.failures) of \(load.requests) requests failed")
    }
    return (spent * 1e6 / Double(load.requests), load.body_bytes)
  }
}

struct HTTPResult: Codable {
  var provenance = Provenance()
  var rounds: Int
  var connections: Int
  /// `livez`, `infer`, `infer.tokeniser`, `infer.whole`.
  var cases: [String: HTTPMeasurement] = [:]

  var misses: [String] {
    cases.sorted { $0.key < $1.key }.compactMap { name, measured in
      guard let limit = measured.limit, measured.ratio > limit else { return nil }
      return "\(name) takes \(measured.ratio.text(2)) times the bare loop, at most \(limit.text(0)) allowed"
    }
  }

  func write(record: Bool) throws {
    try ResultFile.write(self, "http", record: record)
    let bars = cases.sorted { $0.key < $1.key }.filter { $0.key != "infer.whole" }.map {
      BarPlot.Bar(label: $0.key, value: $0.value.ratio, low: $0.value.pairs.least, high: $0.value.pairs.most)
    }
    let plot = BarPlot(
      title: "CPU for a request against a bare loop in C", unit: "times", bars: bars, mark: 1)
    try ResultFile.write(Data(plot.svg.utf8), "http.svg", record: record)
  }
}

/// Microseconds of CPU per request.
struct HTTPMeasurement: Codable {
  let requestBytes: Int
  let answerBytes: Int
  /// The most that `ratio` may be; nil: printed alone.
  let limit: Double?
  var ours = Sample()
  var peer = Sample()
  /// The median of `pairs`: a machine whose clock changes every few seconds changes it for both of most pairs.
  private(set) var ratio = 0.0
  /// Neighbours against each other.
  private(set) var pairs = Sample()

  init(requestBytes: Int, answerBytes: Int, limit: Double?) {
    self.requestBytes = requestBytes
    self.answerBytes = answerBytes
    self.limit = limit
  }

  mutating func add(ours: Double, peer: Double) {
    self.ours.values.append(ours)
    self.peer.values.append(peer)
    pairs.values.append(ours / peer)
    ratio = pairs.median
  }
}
