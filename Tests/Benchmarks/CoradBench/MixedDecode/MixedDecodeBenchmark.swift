import ArgumentParser
import Engine
import Foundation
import Models
import Tensors

/// Aggregate tokens a second of 16 streams over 1, 4 and 16 different tasks, in one run. The numbers of tasks take turns, each
/// round beginning with another, and are compared within a round, seconds apart.
struct MixedDecodeBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mixed-decode", abstract: "Decoding 16 streams of 1, 4 and 16 tasks.")

  static let streams = 16
  static let tasks = [1, 4, 16]

  @Option(help: "Configuration that make_decoder.py knows.") var shape = DecoderShape.smolLM
  @Option(help: "Folder of the base; made when absent.") var model: String?
  @Option(help: "What the weights are held as, by the name that a packed matrix has.") var element =
    "bfloat16Pairs"
  @Option(help: "Lanes.") var threads = 2
  @Option(help: "Shards of the executor; its own choice when absent.") var shards: Int?
  @Option(help: "Alternations.") var rounds = 15
  @Option(help: "Alternations of PEFT, on query and value; 0 spares it.") var peerRounds = 2
  @Option(help: "Tokens of a prompt.") var promptTokens = 32
  @Option(help: "Tokens decoded by each stream.") var steps = 32
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let result = try await measure()
    try result.write(record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() async throws -> MixedDecodeResult {
    let python = try Places.python()
    let model = try Places.decoder(model, shape: shape, python: python)
    guard let held = PackedElement(rawValue: element) else {
      throw BenchError("weights are \(PackedElement.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    let decoder = try Decoder(Checkpoint(directory: model), as: held)
    let lanes = ComputeLanes(count: threads)
    var result = MixedDecodeResult(
      shape: shape, element: element, threads: threads, promptTokens: promptTokens, steps: steps)
    let prompts = DecodePrompts.random(
      Self.streams, tokens: promptTokens, vocabulary: decoder.configuration.vocabularySize)
    for (name, kinds) in [("query and value", [.query, .value]), ("seven sites", Set(SiteKind.decoder))] {
      let tasks = try DecoderTasks(decoder, kinds: kinds, count: Self.streams)
      let engine = EngineDecoder(decoder, lanes: lanes, streams: Self.streams, shards: shards, tasks: tasks)
      // A shard's step reads the weights and the A of every task of its rows.
      let (weights, task) = (Double(decoder.residentBytes), Double(tasks.adapterBytes))
      let rows = Self.streams / (shards ?? threads)
      var measured = MixedDecodeCase(adapterBytes: tasks.adapterBytes) {
        (weights + task) / (weights + task * Double(min($0, rows)))
      }
      for round in 0...rounds {
        for count in Self.turn(round) {
          let times = try await engine.decode(prompts, steps: steps, tasks: tasks, distinct: count)
          // The first round warms up.
          if round > 0 { measured.add(times.decodeRate, tasks: count) }
        }
      }
      result.add(name, measured)
    }
    if peerRounds > 0 { try measurePeer(python, model, prompts, &result) }
    return result
  }

  /// The numbers of tasks in the order of a round.
  private static func turn(_ round: Int) -> [Int] {
    let first = round % tasks.count
    return Array(tasks[first...] + tasks[..<first])
  }

  /// PEFT's batches of different adapters, in the same turns.
  private func measurePeer(
    _ python: String, _ model: String, _ prompts: [[Int32]], _ result: inout MixedDecodeResult
  ) throws {
    let peer = try TorchDecoder(
      python: python, model: model, threads: threads, element: element == "float32" ? element : "bfloat16",
      adapters: Self.streams)
    result.provenance.peers = peer.versions
    var measured = MixedDecodeCase(adapterBytes: 0) { _ in 1 }
    for round in 0...peerRounds {
      for count in Self.turn(round) {
        let times = try peer.decode(prompts, steps: steps, distinct: count)
        if round > 0 { measured.add(times.decodeRate, tasks: count) }
      }
    }
    result.add("PEFT, query and value", measured)
  }
}

/// One choice of sites.
struct MixedDecodeCase: Codable {
  /// Of one task.
  let adapterBytes: Int
  /// By number of tasks: aggregate tokens a second.
  private(set) var rates: [Int: Sample] = [:]
  /// By number of tasks: the share of one task's speed that the bytes of a step leave.
  let ceilings: [Int: Double]

  init(adapterBytes: Int, ceiling: (Int) -> Double) {
    self.adapterBytes = adapterBytes
    ceilings = Dictionary(uniqueKeysWithValues: MixedDecodeBenchmark.tasks.map { ($0, ceiling($0)) })
  }

  mutating func add(_ rate: Double, tasks: Int) { rates[tasks, default: Sample()].values.append(rate) }

  /// Speed as a share of that of one task, the median over the rounds.
  func share(_ tasks: Int) -> Double { pairs(tasks).median }

  /// The same, round by round.
  func pairs(_ tasks: Int) -> Sample {
    guard let many = rates[tasks], let one = rates[1] else { return Sample() }
    return Sample(values: zip(many.values, one.values).map { $0 / $1 })
  }
}

struct MixedDecodeResult: Codable {
  /// Of 16 tasks against one, query and value adapted.
  private static let least = 0.9

  var provenance = Provenance()
  let shape: DecoderShape
  let element: String
  let threads: Int
  let promptTokens: Int
  let steps: Int
  private(set) var cases: [String: MixedDecodeCase] = [:]

  init(shape: DecoderShape, element: String, threads: Int, promptTokens: Int, steps: Int) {
    self.shape = shape
    self.element = element
    self.threads = threads
    self.promptTokens = promptTokens
    self.steps = steps
  }

  mutating func add(_ name: String, _ measured: MixedDecodeCase) {
    cases[name] = measured
    for tasks in MixedDecodeBenchmark.tasks {
      let pairs = measured.pairs(tasks)
      say(
        "\(name), \(tasks) tasks of \(measured.adapterBytes) bytes: "
          + "\((measured.rates[tasks]?.median ?? .nan).text(1)) tok/s, \(measured.share(tasks).text(3)) of one task "
          + "(pairs \(pairs.least.text(3)) to \(pairs.most.text(3))), by bytes "
          + "\((measured.ceilings[tasks] ?? .nan).text(3))")
    }
  }

  var misses: [String] {
    guard let share = cases["query and value"]?.share(MixedDecodeBenchmark.streams) else { return [] }
    return share >= Self.least
      ? [] : ["16 tasks decode at \(share.text(3)) of the speed of one, at least \(Self.least)"]
  }

  func write(record: Bool) throws {
    try ResultFile.write(self, "mixed-decode", record: record)
    let bars = cases.sorted { $0.key < $1.key }.flatMap { name, measured in
      MixedDecodeBenchmark.tasks.map { tasks in
        let pairs = measured.pairs(tasks)
        return BarPlot.Bar(
          label: "\(name), \(tasks) tasks", value: measured.share(tasks), low: pairs.least, high: pairs.most)
      }
    }
    let plot = BarPlot(title: "16 streams against one task", unit: "share", bars: bars, mark: 1)
    try ResultFile.write(Data(plot.svg.utf8), "mixed-decode.svg", record: record)
  }
}
