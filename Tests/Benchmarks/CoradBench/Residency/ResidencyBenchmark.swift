import Adapters
import ArgumentParser
import Foundation
import Models
import Serving
import Tensors

/// What one more resident task costs in memory, and whether many registered tasks make the others slower.
struct ResidencyBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "residency", abstract: "Bytes for one more task; cost of many registered tasks.")

  static let labels = ["billing", "delivery", "account", "other"]

  @Option(help: "Folder of the base; the peers' own MiniLM without it.") var model: String?
  @Option(help: "Tasks of the larger registry.") var registered = 10_000
  @Option(help: "Alternations.") var rounds = 5
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let result = try await measure()
    try result.write(record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() async throws -> ResidencyResult {
    let model = try Places.model(model)
    var result = ResidencyResult(registered: registered)
    try await memory(model, &result)
    try await times(model, &result)
    return result
  }

  // MARK: Memory

  /// At 10, 100 and 1,000 resident tasks: half as many more are published, and the process is looked at before and
  /// after.
  private func memory(_ model: String, _ result: inout ResidencyResult) async throws {
    let points = try await BenchDaemon.withNode(model: model) { node in
      let made = try await MadeVersion(node)
      let subspaceBytes = await node.metrics().residentSubspaceBytes
      var published = 0
      func publish(upTo count: Int) async throws {
        while published < count {
          published += 1
          _ = try await node.publish(
            made.version(seed: UInt64(published), rank: 8, labels: Self.labels), task: "task-\(published)",
            activate: true, principal: .anonymous)
        }
      }
      var points: [ResidencyPoint] = []
      for tasks in [10, 100, 1_000] {
        try await publish(upTo: tasks)
        let before = try ResidentMemory.now()
        let more = max(tasks / 2, 50)
        try await publish(upTo: tasks + more)
        let after = try ResidentMemory.now()
        let metrics = await node.metrics()
        points.append(
          ResidencyPoint(
            tasks: tasks, further: more, resident: metrics.residentAdapters,
            payloadBytes: made.version(seed: 1, rank: 8, labels: Self.labels).payloadBytes,
            anonymousBytes: (after.anonymous - before.anonymous) / more,
            residentBytes: (after.resident - before.resident) / more,
            subspaceBytes: metrics.residentSubspaceBytes, firstSubspaceBytes: subspaceBytes))
      }
      return points
    }
    result.points = points
    for point in points {
      say(
        "at \(point.tasks) tasks: \(point.anonymousBytes) resident bytes for a further one (\(point.residentBytes) with "
          + "mapped files), A and head are \(point.payloadBytes): ratio \(point.ratio.text(3)); "
          + "B \(point.subspaceBytes) bytes for all")
    }
  }

  // MARK: Times

  private func times(_ model: String, _ result: inout ResidencyResult) async throws {
    let stub: @Sendable (InferenceStages) -> InferenceStages = { stages in
      var stages = stages
      stages.compute = { parts, done in
        done(
          parts.flatMap { part in (0..<part.count).map { _ in .classification(scores: [0.4, 0.3, 0.2, 0.1]) }
          })
      }
      return stages
    }
    let registered = registered
    let rounds = rounds
    result.steps = try await BenchDaemon.withNode(model: model, replacing: stub) { few in
      try await BenchDaemon.withNode(model: model, replacing: stub) { many in
        let small = try await Registry(few, tasks: 10)
        let large = try await Registry(many, tasks: registered)
        var steps: [String: ResidencyStep] = [:]
        for round in 0...rounds {
          for (registry, isLarge) in [(small, false), (large, true)] {
            let times = try await registry.times(round: round)
            // The first round warms up.
            if round == 0 { continue }
            for (name, time) in times { steps[name, default: ResidencyStep()].add(time, isLarge: isLarge) }
          }
        }
        return steps
      }
    }
    for (name, step) in result.steps.sorted(by: { $0.key < $1.key }) {
      say(
        "\(name): median \(step.few.median.text(2)) us at 10 registered tasks, \(step.many.median.text(2)) us at "
          + "\(registered): ratio \(step.ratio.text(2))")
    }
  }
}

/// A node with so many registered tasks, of which ten are in use.
private struct Registry {
  private static let used = 10
  private static let lookups = 2_000
  private static let admissions = 2_000
  private static let swaps = 40

  private let node: Node
  private let made: MadeVersion
  private let tasks: Int

  /// Tasks as small as they get (rank 1 at one site): what is looked at here is their number.
  init(_ node: Node, tasks: Int) async throws {
    self.node = node
    self.tasks = tasks
    made = try await MadeVersion(node)
    for index in 0..<tasks { try await publish(index, seed: UInt64(index)) }
  }

  private func publish(_ index: Int, seed: UInt64) async throws {
    _ = try await node.publish(
      made.version(seed: seed, rank: 1, labels: ResidencyBenchmark.labels, siteCount: 1),
      task: "task-\(index)",
      activate: true, principal: .anonymous)
  }

  /// The tasks in use are spread over the registry.
  private func name(_ index: Int) -> String { "task-\(index % Self.used * (tasks / Self.used))" }

  /// Median microseconds of each step.
  func times(round: Int) async throws -> [String: Double] {
    var lookup = Sample()
    for index in 0..<Self.lookups {
      let name = name(index)
      let started = ContinuousClock.now
      _ = try await node.leasedVersion(of: name)
      lookup.values.append((.now - started).seconds * 1e6)
    }
    var admission = Sample()
    for index in 0..<Self.admissions {
      let input = InferenceInputs(["my card was charged twice"])
      let started = ContinuousClock.now
      _ = try await node.infer(
        task: name(index), inputs: input, options: InferenceOptions(), timeoutMilliseconds: nil,
        principal: .anonymous)
      admission.values.append((.now - started).seconds * 1e6)
    }
    var swap = Sample()
    for index in 0..<Self.swaps {
      let version = made.version(
        seed: UInt64(1_000_000 * (round + 1) + index), rank: 1, labels: ResidencyBenchmark.labels,
        siteCount: 1)
      let name = name(index)
      let started = ContinuousClock.now
      _ = try await node.publish(version, task: name, activate: true, principal: .anonymous)
      swap.values.append((.now - started).seconds * 1e6)
    }
    return ["lookup": lookup.median, "admission": admission.median, "swap": swap.median]
  }
}

extension AdapterVersion {
  /// Bytes of A and head: the floats that a further task cannot do without.
  fileprivate var payloadBytes: Int {
    var floats = updates.values.reduce(0) { $0 + $1.coefficients.values.count }
    for layer in [head.dense, head.linear] {
      floats += layer.map { $0.weight.values.count + $0.bias.count } ?? 0
    }
    return floats * MemoryLayout<Float>.stride
  }
}

struct ResidencyPoint: Codable {
  let tasks: Int
  let further: Int
  /// Adapters in the cache after it.
  let resident: Int
  /// A and head.
  let payloadBytes: Int
  /// Of the process's own pages, per further task.
  let anonymousBytes: Int
  /// The same with the pages of mapped files: the kernel's copy of the store.
  let residentBytes: Int
  let subspaceBytes: Int
  let firstSubspaceBytes: Int

  var ratio: Double { Double(anonymousBytes) / Double(payloadBytes) }
}

/// Microseconds of one step: the median of each round.
struct ResidencyStep: Codable {
  var few = Sample()
  var many = Sample()

  var ratio: Double { many.median / few.median }

  mutating func add(_ time: Double, isLarge: Bool) {
    if isLarge { many.values.append(time) } else { few.values.append(time) }
  }
}

struct ResidencyResult: Codable {
  static let memoryLimit = 1.1
  static let timeLimit = 1.25

  var provenance = Provenance()
  let registered: Int
  var points: [ResidencyPoint] = []
  /// `lookup`: catalog and cache. `admission`: an answer with the lane stubbed. `swap`: publish, durable.
  var steps: [String: ResidencyStep] = [:]

  init(registered: Int) { self.registered = registered }

  var misses: [String] {
    var misses: [String] = []
    for point in points {
      if point.ratio > Self.memoryLimit {
        misses.append("at \(point.tasks) tasks a further one takes \(point.ratio.text(3)) times A and head")
      }
      if point.resident != point.tasks + point.further { misses.append("not every task was resident") }
      if point.subspaceBytes != point.firstSubspaceBytes || point.subspaceBytes == 0 {
        misses.append("B's bytes moved with the tasks")
      }
    }
    for (name, step) in steps.sorted(by: { $0.key < $1.key }) where !(step.ratio <= Self.timeLimit) {
      misses.append("\(name) takes \(step.ratio.text(2)) times as long at \(registered) tasks")
    }
    return misses
  }

  func write(record: Bool) throws {
    try ResultFile.write(self, "residency", record: record)
    var bars = points.map {
      BarPlot.Bar(label: "memory at \($0.tasks) tasks", value: $0.ratio, low: $0.ratio, high: $0.ratio)
    }
    bars += steps.sorted { $0.key < $1.key }.map { name, step in
      BarPlot.Bar(
        label: "\(name) at \(registered)", value: step.ratio, low: step.many.least / step.few.median,
        high: step.many.most / step.few.median)
    }
    let plot = BarPlot(
      title: "Memory against A and head; time against 10 tasks", unit: "times", bars: bars, mark: 1)
    try ResultFile.write(Data(plot.svg.utf8), "residency.svg", record: record)
  }
}
