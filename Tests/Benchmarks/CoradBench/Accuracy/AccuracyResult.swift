import Foundation
import Training

/// What is committed: every run with its bits, compact.
struct AccuracyResult: Codable {
  struct Compact: Codable {
    let task: String
    let arm: Arm
    let rate: Float
    let seed: UInt64
    let accuracy: Double
    let right: String
    let rows: Int
    let version: String
    let configuration: String
    let lastTrainingLoss: Double

    init(_ run: AccuracyRun) throws {
      task = run.configuration.task
      arm = run.arm
      rate =
        run.arm == .headOnly
        ? run.configuration.settings.headLearningRate : run.configuration.settings.learningRate
      seed = run.configuration.settings.seed
      accuracy = run.accuracy
      right = run.purpose == "table" ? run.right : ""
      rows = run.rows
      version = run.version
      configuration = try run.configuration.digest
      lastTrainingLoss = run.lastTrainingLoss
    }
  }

  var provenance = Provenance()
  /// SHA-256 of the package index that the texts come from.
  let index: String
  let base: String
  let rates: [String: Float]
  let grid: [Compact]
  let runs: [Compact]
  /// Runs that the table has when it is whole.
  let wanted: Int
  private let outcomes: [String: [Double]]

  private enum CodingKeys: String, CodingKey { case provenance, index, base, rates, grid, runs, wanted }

  init(index: String, rates: [Arm: Float], grid: [AccuracyRun], runs: [AccuracyRun], wanted: Int) {
    self.index = index
    self.rates = Dictionary(uniqueKeysWithValues: rates.map { ($0.key.rawValue, $0.value) })
    self.grid = grid.compactMap { try? Compact($0) }
    self.runs = runs.compactMap { try? Compact($0) }
    self.wanted = wanted
    base = runs.first?.configuration.base ?? ""
    outcomes = Dictionary(
      runs.map { (Self.key($0.configuration.task, $0.arm, $0.configuration.settings.seed), $0.outcomes) },
      uniquingKeysWith: { first, _ in first })
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    provenance = try values.decode(Provenance.self, forKey: .provenance)
    index = try values.decode(String.self, forKey: .index)
    base = try values.decode(String.self, forKey: .base)
    rates = try values.decode([String: Float].self, forKey: .rates)
    grid = try values.decode([Compact].self, forKey: .grid)
    runs = try values.decode([Compact].self, forKey: .runs)
    wanted = try values.decode(Int.self, forKey: .wanted)
    outcomes = [:]
  }

  private static func key(_ task: String, _ arm: Arm, _ seed: UInt64) -> String {
    "\(task)/\(arm.rawValue)/\(seed)"
  }

  var tasks: [String] { Set(runs.map(\.task)).sorted() }

  /// Mean over the seeds that are there, in percent.
  func mean(_ task: String, _ arm: Arm) -> Double {
    let values = runs.filter { $0.task == task && $0.arm == arm }.map { 100 * $0.accuracy }
    return values.reduce(0, +) / Double(values.count)
  }

  /// Tasks where `lora` gains at least 1.5 points over the head alone: the ones that the goal speaks of.
  var tasksWithGain: [String] {
    tasks.filter { mean($0, .lora) - mean($0, .headOnly) >= Self.leastGain }
  }
  static let leastGain = 1.5

  /// Points of an arm above `lora` on some tasks, with the interval; over seeds that both have.
  func difference(_ arm: Arm, _ tasks: [String]) -> (mean: Double, low: Double, high: Double) {
    let rows = tasks.compactMap { task -> [Double]? in
      var sums: [Double] = []
      var seeds = 0.0
      for seed in Set(runs.map(\.seed)).sorted() {
        guard let mine = outcomes[Self.key(task, arm, seed)],
          let theirs = outcomes[Self.key(task, .lora, seed)]
        else { continue }
        let differences = zip(mine, theirs).map { 100 * ($0 - $1) }
        sums = sums.isEmpty ? differences : zip(sums, differences).map(+)
        seeds += 1
      }
      return seeds > 0 ? sums.map { $0 / seeds } : nil
    }
    return PairedBootstrap.interval(rows)
  }

  func printReport() {
    say("runs: \(runs.count) of \(wanted)")
    say("| task | " + Arm.allCases.map(\.rawValue).joined(separator: " | ") + " |")
    say("|---|" + String(repeating: "---|", count: Arm.allCases.count))
    for task in tasks {
      say("| \(task) | " + Arm.allCases.map { mean(task, $0).text(1) }.joined(separator: " | ") + " |")
    }
    for (name, tasks) in [("all tasks", tasks), ("tasks where lora gains 1.5 points", tasksWithGain)] {
      guard !tasks.isEmpty else { continue }
      say("\(name) (\(tasks.count)): points against lora, 95 % interval")
      for arm in Arm.allCases where arm != .lora {
        let against = difference(arm, tasks)
        say(
          "  \(arm.rawValue): \(against.mean.text(2)) (\(against.low.text(2)) to \(against.high.text(2)))")
      }
    }
  }

  var plot: BarPlot {
    let tasks = tasksWithGain.isEmpty ? tasks : tasksWithGain
    let lora = tasks.map { mean($0, .lora) }.reduce(0, +) / Double(max(tasks.count, 1))
    let bars = Arm.allCases.map { arm in
      let value = tasks.map { mean($0, arm) }.reduce(0, +) / Double(max(tasks.count, 1))
      let against = arm == .lora ? (mean: 0, low: 0, high: 0) : difference(arm, tasks)
      return BarPlot.Bar(
        label: arm.rawValue, value: value, low: value + against.low - against.mean,
        high: value + against.high - against.mean)
    }
    return BarPlot(
      title: "Held-out accuracy, mean of \(tasks.count) tasks", unit: "%", bars: bars, mark: lora,
      origin: max(0, (bars.map(\.low).min() ?? 0) - 5))
  }
}
