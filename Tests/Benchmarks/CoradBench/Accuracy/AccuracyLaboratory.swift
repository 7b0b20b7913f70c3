import Adapters
import Digests
import Foundation
import Models
import Tokenizers
import Training

/// The tasks of the package index, by purpose.
struct TaskIndex: Sendable {
  struct Manifest: Decodable, Sendable {
    struct Side: Decodable, Sendable {
      let rows: Int
      let sha256: String
    }
    struct Task: Decodable, Sendable {
      let purpose: String
      let train: Side
      let heldout: Side
    }
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let index_sha256: String
    let tasks: [String: Task]
  }

  let folder: URL
  let manifest: Manifest

  init(folder: URL) throws {
    self.folder = folder
    manifest = try JSONDecoder().decode(
      Manifest.self, from: Data(contentsOf: folder.appendingPathComponent("manifest.json")))
  }

  func names(_ purpose: String) -> [String] {
    manifest.tasks.filter { $0.value.purpose == purpose }.keys.sorted()
  }

  func rows(_ task: String, _ side: String) throws -> [LabelledText] {
    try LabelledText.read(folder.appendingPathComponent("tasks/\(task)/\(side).ndjson"))
  }
}

/// One run to be done or found.
struct AccuracyJob: Sendable {
  let arm: Arm
  let task: String
  let purpose: String
  let rate: Float
  let seed: UInt64
}

/// Trains and answers; finds what was done before.
struct AccuracyLaboratory: Sendable {
  let bench: Workbench
  let index: TaskIndex
  let store: AccuracyStore
  /// Runs at a time: a step of short texts is one shard, so a run keeps one lane busy.
  let width: Int
  /// `weights` once, `adapters` when it has grown.
  var subspaces: [Arm: Subspace] = [:]
  static let subspaceColumns = 64

  init(bench: Workbench, index: TaskIndex, store: AccuracyStore, width: Int) throws {
    self.bench = bench
    self.index = index
    self.store = store
    self.width = width
    subspaces[.coraWeights] = try SubspaceExtraction.weights(
      [bench.checkpoint], base: bench.checkpoint, options: .init(rank: Self.subspaceColumns))
  }

  /// Makes the adapters subspace out of `lora` versions of the subspace tasks.
  mutating func grow(loraRate: Float) async throws {
    let jobs = index.names("subspace").map {
      AccuracyJob(arm: .lora, task: $0, purpose: "subspace", rate: loraRate, seed: 0)
    }
    let runs = try await run(jobs)
    let versions = try runs.map { run in
      guard let bytes = store.version(try run.configuration.digest) else {
        throw BenchError("a subspace run has no version beside it; remove its file and run again")
      }
      return try AdapterVersion(encoded: bytes)
    }
    let grown = try SubspaceExtraction.adapters(
      versions, sites: bench.encoder.sites, base: bench.encoder.digest,
      options: .init(rank: Self.subspaceColumns))
    subspaces[.coraAdapters] = grown
    subspaces[.coraInit] = grown
  }

  func subspace(_ job: AccuracyJob) throws -> Subspace? {
    if job.arm == .coraRandom {
      return try SubspaceExtraction.random(
        sites: bench.encoder.sites, base: bench.encoder.digest,
        options: .init(rank: Self.subspaceColumns, seed: job.seed))
    }
    return subspaces[job.arm]
  }

  func configuration(_ job: AccuracyJob) throws -> AccuracyConfiguration {
    guard let task = index.manifest.tasks[job.task] else { throw BenchError("no task \(job.task)") }
    return AccuracyConfiguration(
      base: "\(bench.encoder.digest)", task: job.task, trainSHA256: task.train.sha256,
      heldOutSHA256: task.heldout.sha256, subspace: try subspace(job).map { "\($0.digest)" },
      settings: job.arm.settings(rate: job.rate, seed: job.seed))
  }

  /// All jobs, in order; a few at a time.
  func run(_ jobs: [AccuracyJob]) async throws -> [AccuracyRun] {
    let laboratory = self
    return try await withThrowingTaskGroup(of: (Int, AccuracyRun).self) { group in
      var runs = [AccuracyRun?](repeating: nil, count: jobs.count)
      var next = 0
      func addOne() {
        guard next < jobs.count else { return }
        let (index, job) = (next, jobs[next])
        next += 1
        group.addTask { (index, try await laboratory.run(job)) }
      }
      for _ in 0..<width { addOne() }
      while let (index, run) = try await group.next() {
        runs[index] = run
        addOne()
      }
      return runs.compactMap(\.self)
    }
  }

  private func run(_ job: AccuracyJob) async throws -> AccuracyRun {
    let digest = try configuration(job).digest
    if let done = try store.run(digest) { return done }
    let (run, version) = try await compute(job)
    try store.keep(run, version: job.purpose == "subspace" ? version.encoded() : nil)
    say(
      "\(job.purpose) \(job.task) \(job.arm.rawValue) rate \(job.rate) seed \(job.seed): "
        + "\((100 * run.accuracy).text(2)) % in \(run.seconds.text(1)) s")
    return run
  }

  /// Trains from nothing, whatever is stored.
  func compute(_ job: AccuracyJob) async throws -> (AccuracyRun, AdapterVersion) {
    let clock = ContinuousClock()
    let started = clock.now
    let configuration = try configuration(job)
    let settings = configuration.settings
    let subspace = try subspace(job)
    let set = try TrainingSet(
      examples: try index.rows(job.task, "train").map(\.example), kind: .classification,
      tokenizer: bench.tokenizer, maxLength: settings.maxLength, validation: 0, seed: settings.seed)
    let training = try TrainingRun(
      base: .encoder(bench.encoder), subspace: subspace, set: set, settings: settings)
    while try await bench.advance(training) {}
    let (version, metrics) = training.result()
    let heldOut = try index.rows(job.task, "heldout")
    let answers = try await bench.labels(
      heldOut.map(\.text), version: version, subspace: version.usesSubspace ? subspace : nil,
      maxLength: settings.maxLength)
    let right = zip(answers, heldOut).map { $0 == $1.label }
    let run = AccuracyRun(
      configuration: configuration, arm: job.arm, purpose: job.purpose,
      accuracy: Double(right.count { $0 }) / Double(max(right.count, 1)), right: AccuracyRun.bits(right),
      rows: right.count, version: "\(Digest.sha256(of: version.encoded()))",
      lastTrainingLoss: metrics?.trainingLoss ?? .nan, seconds: (clock.now - started).seconds)
    return (run, version)
  }
}
