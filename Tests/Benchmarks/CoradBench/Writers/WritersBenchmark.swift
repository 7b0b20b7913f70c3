import Adapters
import ArgumentParser
import Foundation
import Models
import Training

/// Perplexity of each task's held-out texts under its own adapter, under every other task's and under the bare base.
/// Resumable: what is stored is not trained again.
struct WritersBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "writers", abstract: "Whether a task's adapter reads its own texts best; resumes.")

  static let methods = ["cora", "cora-init", "lora"]
  /// Rates of A that the grid tries.
  private static let rates: [Float] = [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2]
  /// The task with the fewest rows but one, and the one with the most. The grid looks at their validation rows, which are
  /// rows of training, never at the held-out ones.
  private static let gridTasks = ["games", "perl"]

  @Option(help: "Folder of train_decoder.py; trained when absent.") var decoder: String?
  @Option(help: "Folder of the trained adapters.") var runs: String?
  @Flag(help: "The grid of rates alone.") var gridOnly = false
  @Flag(help: "The table alone.") var tableOnly = false
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let trained = try Places.trainedDecoder(decoder, python: try Places.python())
    let folder = runs.map { URL(fileURLWithPath: $0) } ?? Places.cache.appendingPathComponent("writer-runs")
    let laboratory = try WriterLaboratory(trained, store: WriterStore(folder: folder))
    var result = WritersResult(
      trained: try trained.manifest(), base: "\(laboratory.base.digest)", tasks: try trained.tasks())
    if !tableOnly { try await grid(laboratory, &result) }
    if gridOnly { return }
    try await table(laboratory, &result)
    result.printReport()
    try ResultFile.write(result, "writers", record: record)
    try ResultFile.write(Data(result.plot.svg.utf8), "writers.svg", record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  private func grid(_ laboratory: WriterLaboratory, _ result: inout WritersResult) async throws {
    let points = Self.methods.flatMap { method in Self.rates.map { (method: method, rate: $0) } }
    let writers = try await laboratory.train(
      points.flatMap { point in
        Self.gridTasks.map { WriterJob(task: $0, method: point.method, rate: point.rate) }
      })
    for (index, point) in points.enumerated() {
      let runs = writers[index * Self.gridTasks.count..<(index + 1) * Self.gridTasks.count].map(\.run)
      result.grid.append(
        WritersResult.GridPoint(
          method: point.method, rate: point.rate,
          losses: Dictionary(uniqueKeysWithValues: zip(Self.gridTasks, runs.map(\.validationLoss)))))
    }
    result.printGrid()
  }

  /// Every method at its default rate.
  private func table(_ laboratory: WriterLaboratory, _ result: inout WritersResult) async throws {
    let tasks = result.tasks
    let writers = try await laboratory.train(
      Self.methods.flatMap { method in
        let rate = TrainingSettings.defaults(kind: .generation, method: method, on: .decoder).learningRate
        return tasks.map { WriterJob(task: $0, method: method, rate: rate) }
      })
    result.runs = writers.map { WritersResult.Run($0.run) }
    for task in tasks {
      let all = try await laboratory.perplexities(of: task, under: [nil] + writers.map(\.adapter))
      result.basePerplexities.append(all[0])
      for (index, method) in Self.methods.enumerated() {
        let first = 1 + index * tasks.count
        result.perplexities[method, default: []].append(Array(all[first..<first + tasks.count]))
      }
    }
  }
}
