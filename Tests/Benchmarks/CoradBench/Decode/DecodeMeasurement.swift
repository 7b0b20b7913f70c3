import Foundation
import Tensors

/// How long a batch of streams took. The prompts end with every stream's first token; what is decoded comes after it.
struct DecodeTimes {
  let promptSeconds: Double
  let promptTokens: Int
  let decodeSeconds: Double
  let decodeTokens: Int

  var promptRate: Double { Double(promptTokens) / promptSeconds }
  var decodeRate: Double { Double(decodeTokens) / decodeSeconds }
}

extension DecodeTimes {
  /// - Parameter times: of every stream's tokens, its first one included.
  init(started: ContinuousClock.Instant, times: [[ContinuousClock.Instant]], promptTokens: Int) {
    let middle = times.compactMap(\.first).max() ?? started
    let ended = times.compactMap(\.last).max() ?? started
    self.init(
      promptSeconds: (middle - started).seconds, promptTokens: promptTokens,
      decodeSeconds: (ended - middle).seconds, decodeTokens: times.reduce(0) { $0 + $1.count { $0 > middle } }
    )
  }
}

/// Tokens a second of both sides, round by round.
struct DecodeMeasurement: Codable {
  private(set) var prompt = RatePair()
  private(set) var decode = RatePair()

  mutating func add(ours: DecodeTimes, peer: DecodeTimes) {
    prompt.add(ours: ours.promptRate, peer: peer.promptRate)
    decode.add(ours: ours.decodeRate, peer: peer.decodeRate)
  }
}

struct RatePair: Codable {
  private(set) var ours = Sample()
  private(set) var peer = Sample()
  /// Neighbours against each other: the spread.
  private(set) var pairs = Sample()
  /// Medians against each other.
  var ratio: Double { ours.median / peer.median }

  mutating func add(ours: Double, peer: Double) {
    self.ours.values.append(ours)
    self.peer.values.append(peer)
    pairs.values.append(ours / peer)
  }

  var line: String {
    "corad \(ours.median.text(1)) tok/s, peer \(peer.median.text(1)) tok/s, ratio \(ratio.text(2)) (pairs "
      + "\(pairs.least.text(2)) to \(pairs.most.text(2)))"
  }
}

enum DecodePrompts {
  /// Prompts of one length with nothing in common; which tokens costs nothing either way.
  static func random(_ count: Int, tokens: Int, vocabulary: Int) -> [[Int32]] {
    var random = RandomSource(seed: 11)
    return (0..<count).map { _ in (0..<tokens).map { _ in Int32(3 + random.below(vocabulary - 3)) } }
  }
}

struct DecodeResult: Codable {
  /// torch must be beaten everywhere.
  private static let least = 1.0
  /// Of llama.cpp's speed at one stream in bfloat16: aimed at.
  private static let goal = 0.8

  var provenance = Provenance()
  let shape: DecoderShape
  let threads: Int
  let promptTokens: Int
  let steps: Int
  /// Against torch, by element and streams.
  private(set) var cases: [String: DecodeMeasurement] = [:]
  /// Against llama.cpp; empty where it did not take part.
  private(set) var llama: [String: DecodeMeasurement] = [:]

  init(shape: DecoderShape, threads: Int, promptTokens: Int, steps: Int) {
    self.shape = shape
    self.threads = threads
    self.promptTokens = promptTokens
    self.steps = steps
  }

  static func name(_ element: String, streams: Int) -> String { "\(element), \(streams) streams" }

  mutating func add(_ name: String, _ measured: DecodeMeasurement, llama: DecodeMeasurement?) {
    cases[name] = measured
    Self.tell(name, "torch", measured)
    if let llama {
      self.llama[name] = llama
      Self.tell(name, "llama.cpp", llama)
    }
  }

  private static func tell(_ name: String, _ peer: String, _ measured: DecodeMeasurement) {
    say("\(name), prompt, \(peer): \(measured.prompt.line)")
    say("\(name), decoding, \(peer): \(measured.decode.line)")
  }

  func sayGoal() {
    guard let measured = llama[Self.name("bfloat16", streams: 1)] else {
      return say("llama.cpp: SKIPPED, its binaries are not named (--llama-server, --llama-bench)")
    }
    for (name, rates) in [("prompt", measured.prompt), ("decoding", measured.decode)] {
      say(
        "goal, at least \(Self.goal) of llama.cpp at one stream in bfloat16, \(name): "
          + "\(rates.ratio >= Self.goal ? "reached" : "missed") with \(rates.ratio.text(2))")
    }
  }

  private static func figures(
    _ cases: [String: DecodeMeasurement]
  ) -> [(name: String, rates: RatePair)] {
    cases.sorted { $0.key < $1.key }.flatMap { name, measured in
      [(name + ", prompt", measured.prompt), (name + ", decoding", measured.decode)]
    }
  }

  var misses: [String] {
    Self.figures(cases).filter { !($0.rates.ratio > Self.least) }.map {
      "\($0.name): \($0.rates.ratio.text(2)) of torch's speed"
    }
  }

  func write(record: Bool) throws {
    let name = shape == .smolLM ? "decode" : "decode-\(shape.rawValue)"
    try ResultFile.write(self, name, record: record)
    for (peer, suffix, cases) in [("torch", "", cases), ("llama.cpp", "-llama", llama)] where !cases.isEmpty {
      let bars = Self.figures(cases).map {
        BarPlot.Bar(
          label: $0.name, value: $0.rates.ratio, low: $0.rates.pairs.least, high: $0.rates.pairs.most)
      }
      let plot = BarPlot(title: "Decoding speed against \(peer)", unit: "ratio", bars: bars, mark: 1)
      try ResultFile.write(Data(plot.svg.utf8), name + suffix + ".svg", record: record)
    }
  }
}
