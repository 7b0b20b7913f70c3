import Adapters
import Digests
import Engine
import Foundation
import Models
import Tokenizers
import Training

/// Trains writers as the daemon does, and reads texts with them as it answers; finds what was trained before.
struct WriterLaboratory: Sendable {
  /// Runs at a time: many steps are one shard, so a run keeps little more than one lane busy.
  private static let width = 2
  /// Rows that a lane reads at once.
  private static let readRows = 4

  let trained: TrainedDecoder
  let base: BaseModel
  private let tokenizer: Tokenizer
  private let encoder: WriterEncoder
  /// The default one of a daemon on this base.
  private let subspace: Subspace
  private let resident: ResidentSubspace
  private let lanes = ComputeLanes()
  private let store: WriterStore

  init(_ trained: TrainedDecoder, store: WriterStore) throws {
    self.trained = trained
    self.store = store
    let checkpoint = try Checkpoint(directory: trained.model)
    base = try BaseModel(checkpoint)
    tokenizer = try Tokenizer(folder: trained.model)
    encoder = WriterEncoder(
      tokenizer: tokenizer, chat: nil, ends: checkpoint.endTokenIDs.map { Int32(clamping: $0) })
    subspace = try SubspaceExtraction.weights([checkpoint], base: checkpoint)
    resident = try ResidentSubspace(subspace, sites: base.sites)
  }

  /// A trained version, ready to serve.
  struct Writer: Sendable {
    let run: WriterRun
    let adapter: ResidentAdapter
  }

  /// All jobs, in order; a few at a time.
  func train(_ jobs: [WriterJob]) async throws -> [Writer] {
    try await withThrowingTaskGroup(of: (Int, Writer).self) { group in
      var writers = [Writer?](repeating: nil, count: jobs.count)
      var next = 0
      func addOne() {
        guard next < jobs.count else { return }
        let (index, job) = (next, jobs[next])
        next += 1
        group.addTask { (index, try await writer(job)) }
      }
      for _ in 0..<Self.width { addOne() }
      while let (index, writer) = try await group.next() {
        writers[index] = writer
        addOne()
      }
      return writers.compactMap(\.self)
    }
  }

  private func writer(_ job: WriterJob) async throws -> Writer {
    let rows = try trained.rows(job.task, "train")
    var settings = TrainingSettings.defaults(kind: .generation, method: job.method, on: .decoder)
    // The tasks are small: 350 to 1,000 rows. The best epoch is kept.
    settings.epochs = 6
    settings.learningRate = job.rate
    // The same version bit for bit, in less time.
    settings.recompute = false
    let usesSubspace = job.method != "lora"
    let configuration = WriterConfiguration(
      base: "\(base.digest)", task: job.task, trainSHA256: try Self.digest(rows),
      subspace: usesSubspace ? "\(subspace.digest)" : nil, settings: settings)
    if let (run, version) = try store.run(try configuration.digest) {
      return Writer(run: run, adapter: try adapter(AdapterVersion(encoded: version)))
    }
    let clock = ContinuousClock()
    let started = clock.now
    let training = try TrainingRun(
      base: base, subspace: usesSubspace ? subspace : nil, resident: usesSubspace ? resident : nil,
      set: set(rows, validation: settings.validation, maxLength: settings.maxLength), settings: settings)
    while try await lanes.advance(training) {}
    let version = training.result().version
    let run = WriterRun(
      configuration: configuration, validationLosses: training.history.compactMap(\.validationLoss),
      steps: training.totalSteps, version: "\(Digest.sha256(of: version.encoded()))",
      seconds: (clock.now - started).seconds)
    try store.keep(run, version: version.encoded())
    say(
      "\(job.task) \(job.method) rate \(job.rate): validation losses "
        + run.validationLosses.map { $0.text(3) }.joined(separator: ", ")
        + " in \(run.steps) steps, \(run.seconds.text(1)) s")
    return Writer(run: run, adapter: try adapter(version))
  }

  private func adapter(_ version: AdapterVersion) throws -> ResidentAdapter {
    try ResidentAdapter(version, sites: base.sites)
  }

  private func set(
    _ rows: [TrainedDecoder.Text], validation: Float, maxLength: Int
  ) throws -> TrainingSet {
    try TrainingSet(
      examples: rows.map { .completion(prompt: $0.prompt, completion: $0.completion) }, kind: .generation,
      tokenizer: tokenizer, maxLength: maxLength, validation: validation, seed: 0, writer: encoder)
  }

  private static func digest(_ rows: [TrainedDecoder.Text]) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    return Digest.sha256(of: [UInt8](try encoder.encode(rows))).hex
  }

  /// Perplexity of a task's held-out completions, each with its end token, under each adapter; nil is the bare base.
  func perplexities(of task: String, under adapters: [ResidentAdapter?]) async throws -> [Double] {
    let rows = try trained.rows(task, "heldout")
    let longest = TrainingSettings.defaults(kind: .generation, method: "cora", on: .decoder).maxLength
    let set = try set(rows, validation: 0, maxLength: longest)
    guard set.truncatedCount == 0 else { throw BenchError("\(task) has rows of more than \(longest) tokens") }
    // A prompt ends with a line break, so it has the same tokens alone.
    let written =
      set.tokens - rows.reduce(0) { $0 + tokenizer.encode($1.prompt, limit: nil).ids.count }
    let pieces = stride(from: 0, to: rows.count, by: Self.readRows).map {
      Array($0..<min($0 + Self.readRows, rows.count))
    }
    var perplexities: [Double] = []
    for adapter in adapters {
      let (base, resident) = (base, resident)
      let subspace = adapter?.subspace == nil ? nil : resident
      let losses = await lanes.map(.training, pieces) { rows, arena in
        set.writingLoss(of: rows, base: base, arena: arena) { tokens in
          BatchPatch(
            sites: base.sites,
            groups: [RowGroup(rows: 0..<tokens, adapter: adapter, subspace: subspace)], primary: resident)
        }
      }
      perplexities.append(exp(losses.reduce(0, +) / Double(written)))
    }
    return perplexities
  }
}
