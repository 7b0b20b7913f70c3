import ArgumentParser
import Foundation
import Tensors

/// Held-out accuracy of every method on the table's tasks. Resumable: what is stored is not run again.
struct AccuracyBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "accuracy", abstract: "Held-out accuracy by method; resumes where it was left.")

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Folder of package_index.py.") var data: String?
  @Option(help: "Folder of the stored runs.") var runs: String?
  @Option(help: "Seeds of the table.") var seeds = 3
  @Option(help: "Runs at a time.") var jobs = 2
  @Flag(help: "Two tasks, one seed, no grid: about ten minutes.") var quick = false
  @Flag(help: "The grid and the grown subspace alone.") var gridOnly = false
  @Flag(help: "Report what is stored; run nothing of the table.") var report = false
  @Option(help: "Repeat so many committed runs, drawn by --verify-seed, and compare.") var verify = 0
  @Option(help: "Which runs --verify draws.") var verifySeed: UInt64 = 1
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let python = try Places.python()
    let bench = try Workbench(model: try Places.model(model, python: python), lanes: 0)
    let index = try TaskIndex(folder: try Places.data(data))
    let folder = runs.map { URL(fileURLWithPath: $0) } ?? Places.cache.appendingPathComponent("accuracy-runs")
    var laboratory = try AccuracyLaboratory(
      bench: bench, index: index, store: try AccuracyStore(folder: folder), width: jobs)
    if verify > 0 { return try await repeatRuns(&laboratory) }
    let grid = try await rates(&laboratory)
    for arm in Arm.allCases { say("rate \(arm.rawValue): \(grid.chosen[arm] ?? arm.defaultRate)") }
    if gridOnly { return }
    let table = try await table(laboratory, grid.chosen)
    let result = AccuracyResult(
      index: index.manifest.index_sha256, rates: grid.chosen, grid: grid.runs, runs: table.runs,
      wanted: table.wanted)
    result.printReport()
    try ResultFile.write(result, quick ? "accuracy-quick" : "accuracy", record: record, compact: true)
    try ResultFile.write(Data(result.plot.svg.utf8), "accuracy.svg", record: record)
  }

  /// The grid first for what needs no grown subspace, then the subspace, then the rest.
  private func rates(
    _ laboratory: inout AccuracyLaboratory
  ) async throws -> (chosen: [Arm: Float], runs: [AccuracyRun]) {
    var chosen: [Arm: Float] = [:]
    var runs: [AccuracyRun] = []
    if quick {
      for arm in Arm.allCases { chosen[arm] = arm.defaultRate }
      try await laboratory.grow(loraRate: Arm.lora.defaultRate)
      return (chosen, runs)
    }
    for grown in [false, true] {
      if grown { try await laboratory.grow(loraRate: chosen[.lora] ?? Arm.lora.defaultRate) }
      let arms = Arm.allCases.filter { $0.needsGrownSubspace == grown }
      let jobs = arms.flatMap { arm in
        Arm.grid.flatMap { rate in
          laboratory.index.names("grid").map {
            AccuracyJob(arm: arm, task: $0, purpose: "grid", rate: rate, seed: 0)
          }
        }
      }
      let done = try await laboratory.run(jobs)
      runs += done
      for arm in arms {
        var best: (rate: Float, accuracy: Double)?
        for rate in Arm.grid {
          let same = zip(jobs, done).filter { $0.0.arm == arm && $0.0.rate == rate }.map(\.1.accuracy)
          let mean = same.reduce(0, +) / Double(max(same.count, 1))
          say("grid \(arm.rawValue) \(rate): \((100 * mean).text(2)) %")
          if mean > best?.accuracy ?? -1 { best = (rate, mean) }
        }
        chosen[arm] = best?.rate
      }
    }
    return (chosen, runs)
  }

  private func table(
    _ laboratory: AccuracyLaboratory, _ rates: [Arm: Float]
  ) async throws -> (runs: [AccuracyRun], wanted: Int) {
    let tasks = quick ? ["sections-language", "tag-library"] : laboratory.index.names("table")
    let all = (0..<UInt64(quick ? 1 : seeds)).flatMap { seed in
      tasks.flatMap { task in
        Arm.allCases.map { arm in
          AccuracyJob(
            arm: arm, task: task, purpose: "table", rate: rates[arm] ?? arm.defaultRate, seed: seed)
        }
      }
    }
    if report {
      let stored = try all.filter {
        try laboratory.store.run(try laboratory.configuration($0).digest) != nil
      }
      return (try await laboratory.run(stored), all.count)
    }
    return (try await laboratory.run(all), all.count)
  }

  /// The committed runs need nothing but the index and the base: what the grown subspace takes is trained again where it
  /// is not stored.
  private func repeatRuns(_ laboratory: inout AccuracyLaboratory) async throws {
    guard let committed = try ResultFile.recorded(AccuracyResult.self, "accuracy") else {
      throw BenchError("no result is committed")
    }
    try await laboratory.grow(loraRate: committed.rates[Arm.lora.rawValue] ?? Arm.lora.defaultRate)
    var random = RandomSource(seed: verifySeed)
    var order = committed.runs
    random.shuffle(&order)
    var differing = 0
    for run in order.prefix(verify) {
      let (again, _) = try await laboratory.compute(
        AccuracyJob(arm: run.arm, task: run.task, purpose: "table", rate: run.rate, seed: run.seed))
      let isEqual =
        try run.configuration == again.configuration.digest && run.version == again.version
        && run.right == again.right
      if !isEqual { differing += 1 }
      say("repeat \(run.task) \(run.arm.rawValue) seed \(run.seed): \(isEqual ? "equal" : "DIFFERS")")
    }
    say("repeated \(min(verify, order.count)) runs by seed \(verifySeed): \(differing) differ")
    guard differing == 0 else { throw ExitCode.failure }
  }
}
