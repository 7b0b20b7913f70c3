import Adapters
import ArgumentParser
import Foundation
import Models
import Tensors
import Tokenizers
import Training

/// Real tokens per second of a training run against PEFT on torch: the same tokenised rows, head, batch, rank, rates and
/// threads, dropout 0, no clipping, no schedule. One pass of ours and one of the peer alternate.
struct TrainBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Training speed against PEFT on torch, real tokens a second.")

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Folder of package_index.py.") var data: String?
  @Option(help: "Threads and lanes of each side.") var threads = 2
  @Option(help: "Alternations.") var rounds = 5
  @Option(help: "Batches of 32 in one pass.") var batches = 20
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    _ = try await measure()
  }

  func measure() async throws -> TrainResult {
    let python = try Places.python()
    let model = try Places.model(model, python: python)
    let bench = try Workbench(model: model, lanes: threads)
    let long = try LabelledText.read(try Places.data(data).appendingPathComponent("long/train.ndjson"))
    var result = TrainResult(rounds: rounds, threads: threads)
    for lengths in TrainLengths.allCases {
      let rows = lengths.rows(long, bench: bench, count: batches * TrainCase.batchSize)
      for method in ["cora", "lora"] {
        let peer = try Peer(python: python, script: "train_peer.py", threads: threads, model: model)
        let measured = try await TrainCase(
          bench: bench, rows: rows, limit: lengths.limit(bench), method: method
        ).measure(peer: peer, rounds: rounds)
        result.provenance.peers = peer.versions
        result.cases["\(lengths.rawValue).\(method)"] = measured
        say(
          "\(lengths.rawValue) \(method): \(measured.tokensPerPass) tokens a pass, corad "
            + "\(measured.ours.median.text(0)) tok/s, peer \(measured.peer.median.text(0)) tok/s, ratio "
            + "\(measured.ratio.text(2)) (pairs \(measured.pairs.least.text(2)) to "
            + "\(measured.pairs.most.text(2)))")
      }
    }
    try ResultFile.write(result, "train", record: record)
    let bars = result.cases.sorted { $0.key < $1.key }.map {
      BarPlot.Bar(label: $0.key, value: $0.value.ratio, low: $0.value.pairs.least, high: $0.value.pairs.most)
    }
    let plot = BarPlot(title: "Training speed against PEFT on torch", unit: "ratio", bars: bars, mark: 1)
    try ResultFile.write(Data(plot.svg.utf8), "train.svg", record: record)
    return result
  }
}

struct TrainResult: Codable {
  var provenance = Provenance()
  var rounds: Int
  var threads: Int
  /// `mixed.cora`, `mixed.lora`, `equal.cora`, `equal.lora`.
  var cases: [String: TrainMeasurement] = [:]
}

struct TrainMeasurement: Codable {
  var tokensPerPass: Int
  var ours = Sample()
  var peer = Sample()
  /// Share of the peer's computed positions that are padding.
  var peerPadding: Double
  var losses: [String: [Double]] = [:]
  /// Medians against each other.
  private(set) var ratio = 0.0
  /// Neighbours against each other: the spread.
  private(set) var pairs = Sample()

  init(tokensPerPass: Int, peerPadding: Double) {
    self.tokensPerPass = tokensPerPass
    self.peerPadding = peerPadding
  }

  mutating func add(ours: Double, peer: Double) {
    self.ours.values.append(ours)
    self.peer.values.append(peer)
    pairs.values.append(ours / peer)
    ratio = self.ours.median / self.peer.median
  }
}

/// Which texts.
enum TrainLengths: String, CaseIterable {
  /// Long descriptions as they are.
  case mixed
  /// Those with at least 64 tokens, cut there.
  case equal

  private static let equalTokens = 64

  func limit(_ bench: Workbench) -> Int { self == .mixed ? bench.checkpoint.textLimit : Self.equalTokens }

  func rows(_ all: [LabelledText], bench: Workbench, count: Int) -> [LabelledText] {
    let fitting =
      self == .mixed ? all : all.filter { bench.tokenizer.count($0.text) >= Self.equalTokens }
    let whole = min(count, fitting.count) / TrainCase.batchSize * TrainCase.batchSize
    return Array(fitting.prefix(whole))
  }
}
