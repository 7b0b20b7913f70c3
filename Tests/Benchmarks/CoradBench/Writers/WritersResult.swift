import Foundation
import Training

struct WritersResult: Codable {
  /// Issue 3: a task gives its own text at least 10 % lower perplexity than any other task's adapter does.
  private static let leastSeparation = 1 / 0.9
  private static let judged = "cora"

  /// A method at a rate of A.
  struct GridPoint: Codable {
    let method: String
    let rate: Float
    /// By task: mean loss of a token to write on the validation rows.
    let losses: [String: Double]

    var mean: Double { losses.values.sorted().reduce(0, +) / Double(losses.count) }
  }

  /// A trained adapter of the table.
  struct Run: Codable {
    let task: String
    let method: String
    let rate: Float
    let steps: Int
    let validationLosses: [Double]
    let version: String

    init(_ run: WriterRun) {
      task = run.configuration.task
      method = run.configuration.settings.method
      rate = run.configuration.settings.learningRate
      steps = run.steps
      validationLosses = run.validationLosses
      version = run.version
    }
  }

  var provenance = Provenance()
  let trained: TrainedDecoder.Manifest
  let base: String
  let tasks: [String]
  var grid: [GridPoint] = []
  var runs: [Run] = []
  /// By method: `[task of the texts][task of the adapter]`, of held-out texts.
  var perplexities: [String: [[Double]]] = [:]
  /// By task of the texts, without an adapter.
  var basePerplexities: [Double] = []

  init(trained: TrainedDecoder.Manifest, base: String, tasks: [String]) {
    self.trained = trained
    self.base = base
    self.tasks = tasks
  }

  /// Perplexities of a task's texts under the others' adapters, over that under its own.
  private func ratios(_ method: String, _ task: Int) -> [Double] {
    guard let row = perplexities[method]?[task] else { return [] }
    return row.indices.filter { $0 != task }.map { row[$0] / row[task] }
  }

  private func separation(_ method: String, _ task: Int) -> Double { ratios(method, task).min() ?? .nan }

  func printGrid() {
    for method in WritersBenchmark.methods {
      let points = grid.filter { $0.method == method }
      for point in points {
        let losses = point.losses.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.text(4))" }
        say(
          "grid \(method) \(point.rate): mean validation loss \(point.mean.text(4)) ("
            + losses.joined(separator: ", ") + ")")
      }
      if let best = points.min(by: { $0.mean < $1.mean }) { say("best rate of \(method): \(best.rate)") }
    }
  }

  func printReport() {
    for method in WritersBenchmark.methods {
      guard let rows = perplexities[method] else { continue }
      say("| texts (\(method)) | " + tasks.joined(separator: " | ") + " | base | least ratio |")
      say("|---|" + String(repeating: "---|", count: tasks.count + 2))
      for (index, task) in tasks.enumerated() {
        let cells = rows[index].map { $0.text(2) } + [basePerplexities[index].text(2)]
        say("| \(task) | " + cells.joined(separator: " | ") + " | \(separation(method, index).text(3)) |")
      }
    }
  }

  var misses: [String] {
    tasks.enumerated().compactMap { index, task in
      let least = separation(Self.judged, index)
      return least >= Self.leastSeparation
        ? nil
        : "\(Self.judged): another adapter gives \(task) \(least.text(3)) times its own perplexity, at least "
          + Self.leastSeparation.text(3)
    }
  }

  /// Bars are the least ratio, their spread runs to the greatest.
  var plot: BarPlot {
    let bars = tasks.indices.map { index in
      BarPlot.Bar(
        label: tasks[index], value: separation(Self.judged, index), low: separation(Self.judged, index),
        high: ratios(Self.judged, index).max() ?? .nan)
    }
    return BarPlot(
      title: "Perplexity under another task's adapter over its own", unit: "cora, held-out texts", bars: bars,
      mark: Self.leastSeparation, origin: 0.8)
  }
}
