import ArgumentParser
import Foundation

/// Repeats the cheap benchmarks, smaller, and compares with what is recorded: ratios within one run, since machines
/// differ. Worse than its margin is a regression; much better is reported too, so that the record follows.
struct RegressBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "regress", abstract: "The cheap ones again, against the recorded ratios; at most 20 minutes."
  )

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Folder of package_index.py.") var data: String?

  func run() async throws {
    let started = ContinuousClock.now
    var figures: [RegressFigure] = []
    var misses: [String] = []
    let base = model.map { ["--model", $0] } ?? []

    let swap = try SwapBenchmark.parse(base + ["--requests", "2000", "--versions", "20"])
    misses += try await swap.measure().misses.map { "swap: \($0)" }

    let memory = try await ResidencyBenchmark.parse(base + ["--rounds", "3"]).measure()
    misses += memory.misses.map { "residency: \($0)" }
    let recordedMemory = try ResultFile.recorded(ResidencyResult.self, "residency")
    for point in memory.points {
      figures.append(
        .init(
          "residency: memory at \(point.tasks)",
          recordedMemory?.points.first { $0.tasks == point.tasks }?.ratio, point.ratio, margin: 0.05,
          better: .lower))
    }
    for (name, step) in memory.steps.sorted(by: { $0.key < $1.key }) {
      figures.append(
        .init(
          "residency: \(name)", recordedMemory?.steps[name]?.ratio, step.ratio, margin: 0.25, better: .lower))
    }

    let requests = try HTTPBenchmark.parse(base).measure()
    misses += requests.misses.map { "http: \($0)" }
    let recordedRequests = try ResultFile.recorded(HTTPResult.self, "http")
    for (name, measured) in requests.cases.sorted(by: { $0.key < $1.key }) where measured.limit != nil {
      figures.append(
        .init(
          "http: \(name)", recordedRequests?.cases[name]?.ratio, measured.ratio, margin: 0.2, better: .lower))
    }

    // Work of the core against a loop of system calls moves with the machine's clock; against work of the core it moves less.
    for (name, under) in [("infer.tokeniser", "infer"), ("infer.whole", "infer.tokeniser")] {
      guard let now = requests.cost(of: name, against: under) else { continue }
      figures.append(
        .init(
          "http: \(name) / \(under)", recordedRequests?.cost(of: name, against: under), now, margin: 0.2,
          better: .lower))
    }

    let train = try TrainBenchmark.parse(
      base + (data.map { ["--data", $0] } ?? []) + ["--rounds", "2", "--batches", "10"])
    let recordedTraining = try ResultFile.recorded(TrainResult.self, "train")
    for (name, measured) in try await train.measure().cases.sorted(by: { $0.key < $1.key }) {
      figures.append(
        .init(
          "train: \(name)", recordedTraining?.cases[name]?.ratio, measured.ratio, margin: 0.15,
          better: .higher))
    }

    for figure in figures { say(figure.line) }
    for miss in misses { say("MISSED  \(miss)") }
    say("regress: \(figures.count) figures in \((ContinuousClock.now - started).seconds.text(0)) s")
    let worse = figures.count { $0.verdict == .worse } + misses.count
    if worse > 0 { throw BenchError("\(worse) regressions") }
  }
}

/// One ratio against its record.
struct RegressFigure {
  enum Better { case lower, higher }
  enum Verdict: String {
    case same = "ok"
    case worse = "WORSE"
    case better = "BETTER: record it"
    case unknown = "not recorded"
  }

  let name: String
  let recorded: Double?
  let now: Double
  /// Share of the recorded figure that may be lost.
  let margin: Double
  let better: Better

  init(_ name: String, _ recorded: Double?, _ now: Double, margin: Double, better: Better) {
    self.name = name
    self.recorded = recorded
    self.now = now
    self.margin = margin
    self.better = better
  }

  var verdict: Verdict {
    guard let recorded, recorded > 0, now > 0 else { return .unknown }
    // How many times better: 1 is the same, whichever way the figure points.
    let gain = better == .lower ? recorded / now : now / recorded
    if gain < 1 - margin { return .worse }
    return gain > 1 / (1 - margin) ? .better : .same
  }

  var line: String {
    let name = name.padding(toLength: 40, withPad: " ", startingAt: 0)
    let numbers =
      "recorded \(recorded?.text(2) ?? "-") now \(now.text(2)), margin \((margin * 100).text(0)) %"
    return "\(name)  \(numbers)  \(verdict.rawValue)"
  }
}

extension HTTPResult {
  /// CPU of a request of one case in that of another, of the same run.
  fileprivate func cost(of name: String, against other: String) -> Double? {
    guard let mine = cases[name], let theirs = cases[other] else { return nil }
    return mine.ours.median / theirs.ours.median
  }
}
