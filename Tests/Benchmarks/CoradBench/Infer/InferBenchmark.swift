import Adapters
import ArgumentParser
import Digests
import Engine
import Foundation
import Models
import Tensors
import Training

/// Inference against transformers and PEFT on torch: the same token ids in the same batches, threads and rank; rounds
/// alternate.
struct InferBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "infer", abstract: "Inference speed against transformers and PEFT on torch.")

  static let tokens = 32
  static let rank = 8

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Threads and lanes of each side.") var threads = 2
  @Option(help: "Alternations.") var rounds = 5
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let python = try Places.python()
    let model = try Places.model(model, python: python)
    let bench = try Workbench(model: model, lanes: threads)
    var result = InferResult(rounds: rounds, threads: threads)
    for infer in InferCase.all {
      let peer = try Peer(python: python, script: "infer_peer.py", threads: threads, model: model)
      let measured = try await infer.measure(bench, peer: peer, rounds: rounds)
      result.provenance.peers = peer.versions
      result.cases[infer.name] = measured
      say(
        "\(infer.name): corad \(measured.ours.median.text(0)) tok/s, peer \(measured.peer.median.text(0)) tok/s, "
          + "ratio \(measured.ratio.text(2)) (pairs \(measured.pairs.least.text(2)) to "
          + "\(measured.pairs.most.text(2)))")
    }
    say(
      "64 rows over 64 adapters against 1: corad \(result.mixedShare(\.ours).text(2)) of the speed, peer "
        + "\(result.mixedShare(\.peer).text(2))")
    try ResultFile.write(result, "infer", record: record)
    let bars = result.cases.sorted { $0.key < $1.key }.map {
      BarPlot.Bar(label: $0.key, value: $0.value.ratio, low: $0.value.pairs.least, high: $0.value.pairs.most)
    }
    let plot = BarPlot(title: "Inference speed against torch", unit: "ratio", bars: bars, mark: 1)
    try ResultFile.write(Data(plot.svg.utf8), "infer.svg", record: record)
  }
}

/// Batches of one shape, answered by so many adapters (0: the bare base).
private struct InferCase {
  let name: String
  let rows: Int
  let adapters: Int
  let batches: Int

  static let all = [
    InferCase(name: "base, batch 1", rows: 1, adapters: 0, batches: 40),
    InferCase(name: "base, batch 32", rows: 32, adapters: 0, batches: 8),
    InferCase(name: "64 rows, 1 adapter", rows: 64, adapters: 1, batches: 4),
    InferCase(name: "64 rows, 64 adapters", rows: 64, adapters: 64, batches: 4),
  ]

  private struct Prepare: Encodable {
    let command = "prepare"
    let variant: String
    let rows: [[Int32]]
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let batch_size: Int
    let rank = InferBenchmark.rank
    let adapters: Int
    let target = ["query", "value"]
  }
  private struct Prepared: Decodable { let tokens: Int }
  private struct Pass: Encodable { let command = "run" }
  private struct Done: Decodable {
    let seconds: Double
    let tokens: Int
  }

  func measure(_ bench: Workbench, peer: Peer, rounds: Int) async throws -> TrainMeasurement {
    var random = RandomSource(seed: 3)
    // Word pieces of the vocabulary between [CLS] and [SEP]; which ones costs nothing either way.
    let rows = (0..<rows * batches).map { _ in
      [101] + (0..<InferBenchmark.tokens - 2).map { _ in Int32(2_000 + random.below(20_000)) } + [102]
    }
    let variant = adapters == 0 ? "base" : adapters == 1 ? "lora" : "mixed"
    let prepared: Prepared = try peer.call(
      Prepare(variant: variant, rows: rows, batch_size: self.rows, adapters: max(adapters, 1)))
    let ours = try Ours(bench, adapters: adapters, rows: rows, batch: self.rows)
    let _: Done = try peer.call(Pass())
    _ = await ours.pass()
    var measured = TrainMeasurement(tokensPerPass: prepared.tokens, peerPadding: 0)
    for _ in 0..<rounds {
      let seconds = await ours.pass()
      let theirs: Done = try peer.call(Pass())
      measured.add(ours: Double(prepared.tokens) / seconds, peer: Double(theirs.tokens) / theirs.seconds)
    }
    return measured
  }
}

/// Rows as the daemon's planner hands them to the lanes: leased, sorted by task.
private struct Ours {
  private let executor: BatchExecutor
  private let primary: ResidentSubspace
  private let batches: [[BatchRow]]

  init(_ bench: Workbench, adapters: Int, rows: [[Int32]], batch: Int) throws {
    let subspace = try SubspaceExtraction.random(
      sites: bench.encoder.sites, base: bench.encoder.digest, options: .init(rank: InferBenchmark.rank))
    let resident = try ResidentSubspace(subspace, sites: bench.encoder.sites)
    let versions = try (0..<adapters).map { index in
      var random = RandomSource(seed: UInt64(index))
      var updates: [String: SiteUpdate] = [:]
      for site in bench.encoder.sites where site.kind == .query || site.kind == .value {
        let values = (0..<InferBenchmark.rank * site.inputs).map { _ in 0.02 * random.normal() }
        updates[site.name] = SiteUpdate(
          coefficients: Matrix(rows: InferBenchmark.rank, columns: site.inputs, values: values))
      }
      return try ResidentAdapter(
        AdapterVersion(
          kind: .embedding, method: "cora", rank: InferBenchmark.rank, alpha: Float(2 * InferBenchmark.rank),
          base: bench.encoder.digest, subspace: subspace.digest, updates: updates, head: .mean),
        sites: bench.encoder.sites)
    }
    executor = BatchExecutor(base: .encoder(bench.encoder), lanes: bench.lanes)
    primary = resident
    batches = stride(from: 0, to: rows.count, by: batch).map { start in
      rows[start..<start + batch].enumerated().map { index, ids in
        BatchRow(
          ids: ids, typeIDs: ids.map { _ in 0 }, adapter: adapters > 0 ? versions[index % adapters] : nil,
          subspace: adapters > 0 ? resident : nil, normalize: false)
      }
    }
  }

  /// Seconds of all batches, one after the other.
  func pass() async -> Double {
    let started = ContinuousClock.now
    for batch in batches { _ = await executor.run(batch, primary: primary) }
    return (.now - started).seconds
  }
}

struct InferResult: Codable {
  var provenance = Provenance()
  var rounds: Int
  var threads: Int
  /// Real tokens a second.
  var cases: [String: TrainMeasurement] = [:]

  init(rounds: Int, threads: Int) {
    self.rounds = rounds
    self.threads = threads
  }

  /// Speed with 64 adapters as a share of that with one.
  func mixedShare(_ side: KeyPath<TrainMeasurement, Sample>) -> Double {
    guard let mixed = cases["64 rows, 64 adapters"], let one = cases["64 rows, 1 adapter"] else {
      return .nan
    }
    return mixed[keyPath: side].median / one[keyPath: side].median
  }
}
