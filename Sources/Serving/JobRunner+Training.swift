internal import Adapters
internal import Digests
internal import Engine
internal import Foundation
internal import Logging
internal import Models
internal import Store
internal import Tokenizers
internal import Training

extension JobRunner {
  /// The least time between two progress events, in nanoseconds.
  private static let eventNanoseconds: Int64 = 250_000_000

  /// What a training job needs, fetched once.
  private struct Prepared {
    let request: StoredTrainingRequest
    let examples: [TrainingExample]
    let set: TrainingSet
    let subspace: Subspace?
    let resident: ResidentSubspace?
    let from: AdapterVersion?
  }

  func train(_ job: JobRecord, on node: Node) async throws(JobStop) {
    let prepared = try await prepare(job, node)
    let run = try await start(job, prepared, node)
    var meter = Meter(step: run.step)
    var lastEvent: Int64 = 0
    var savedStep = run.step
    turns: while true {
      if let stop = interruption(job.id) {
        if case .cancelled = stop { throw stop }
        // Where it cannot be kept, the job goes on from the checkpoint before.
        do throws(JobStop) {
          try await save(run, job, meter.progress(run, nil), node)
        } catch {
          node.log.error("job \(job.id) stops without a checkpoint: \(error)")
        }
        throw stop
      }
      let shards: [TrainingShard]
      switch run.nextWork() {
      case .finished:
        return try await publish(run, job, prepared, node)
      case .step(let work), .validation(let work): shards = work
      }
      let together = TrainingRun.shardsTogether * node.lanes.count
      for start in stride(from: 0, to: shards.count, by: together) {
        // A step that is not over has not begun.
        if start > 0, interruption(job.id) != nil { continue turns }
        let some = Array(shards[start..<min(start + together, shards.count)])
        run.take(
          await node.lanes.map(.training, some) { shard, arena in TrainingRun.compute(shard, arena: arena) })
      }
      let report: TrainingReport
      do throws(TrainingError) {
        report = try run.finish()
      } catch {
        if case .diverged(let step, let what) = error {
          throw .failed(
            code: "diverged",
            detail: "At step \(step) \(what). A smaller learning rate or a clip norm helps, most likely.")
        }
        throw JobStop(ServingError(error))
      }
      guard report.stage != .half else { continue }
      if report.stage == .step {
        countStep()
        meter.add(report)
      }
      let now = Clock.nanoseconds()
      if report.metrics != nil || now - lastEvent >= Self.eventNanoseconds {
        lastEvent = now
        try await record(report, job, meter.progress(run, report), node)
      }
      if run.step - savedStep >= node.configuration.checkpointSteps, report.stage == .step {
        savedStep = run.step
        try await save(run, job, meter.progress(run, report), node)
      }
    }
  }

  /// What the job has been asked, or the end of the daemon.
  nonisolated func interruption(_ job: String) -> JobStop? {
    switch intent(for: job) {
    case .cancel: .cancelled
    case .pause: .paused
    case nil: isStopping ? .stopping : nil
    }
  }

  private func prepare(_ job: JobRecord, _ node: Node) async throws(JobStop) -> Prepared {
    guard let request = JSONText.decode(StoredTrainingRequest.self, job.request), let dataset = job.dataset,
      let task = job.task
    else { throw .failed(code: "internal", detail: "The stored request does not decode.") }
    do throws(ServingError) {
      let examples = try await node.examples(of: dataset)
      let settings = request.settings
      var labels: [String]?
      do throws(StoreError) {
        let record = try await node.store.task(task)
        if record.active != nil, settings.kind == .classification || settings.kind == .multilabel {
          labels = JSONText.strings(record.labels)
        }
      } catch {
        guard case .notFound = error else { throw ServingError(error) }
      }
      let set: TrainingSet
      do throws(TrainingError) {
        set = try TrainingSet(
          examples: examples, kind: settings.kind, tokenizer: node.tokenizer, maxLength: settings.maxLength,
          validation: settings.validation, seed: settings.seed, labels: labels, writer: node.writerEncoder)
      } catch {
        throw ServingError(error)
      }
      var subspace: Subspace?
      var resident: ResidentSubspace?
      if let digest = request.subspace {
        subspace = try await stored { () throws(StoreError) in try await node.subspaces.value(digest) }
        resident = try await stored { () throws(StoreError) in try await node.subspaces.resident(digest) }
      }
      var from: AdapterVersion?
      if let task = request.fromTask, let version = request.fromVersion {
        from = try await node.adapterVersion(version, of: task)
      }
      return Prepared(
        request: request, examples: examples, set: set, subspace: subspace, resident: resident, from: from)
    } catch {
      throw JobStop(error)
    }
  }

  /// A run from its last checkpoint, or from the start.
  private func start(
    _ job: JobRecord, _ prepared: Prepared, _ node: Node
  ) async throws(JobStop) -> TrainingRun {
    do throws(ServingError) {
      let saved = try await stored { () throws(StoreError) in
        try await node.store.latestCheckpoint(of: job.id)
      }
      // Each lane has a shard at work.
      let limitBytes = Int(clamping: ProcessInfo.processInfo.physicalMemory) / node.lanes.count
      do throws(TrainingError) {
        if let saved {
          return try TrainingRun(
            resuming: saved, base: node.model, subspace: prepared.subspace, resident: prepared.resident,
            set: prepared.set, settings: prepared.request.settings, from: prepared.from,
            limitTapeBytes: limitBytes)
        }
        return try TrainingRun(
          base: node.model, subspace: prepared.subspace, resident: prepared.resident, set: prepared.set,
          settings: prepared.request.settings, from: prepared.from, limitTapeBytes: limitBytes)
      } catch {
        throw ServingError(error)
      }
    } catch {
      throw JobStop(error)
    }
  }

  private func record(
    _ report: TrainingReport, _ job: JobRecord, _ progress: JobProgress, _ node: Node
  ) async throws(JobStop) {
    let event: String
    let isValidation = report.metrics != nil
    if let metrics = report.metrics {
      event = JSONText.object(metrics)
    } else {
      event = JSONText.object(StepEvent(report, progress))
    }
    do throws(StoreError) {
      try await node.store.record(progress, kind: isValidation ? "epoch" : "step", event: event, of: job.id)
    } catch {
      throw JobStop(ServingError(error))
    }
    node.signals.moved(job.id)
  }

  private func save(
    _ run: TrainingRun, _ job: JobRecord, _ progress: JobProgress, _ node: Node
  ) async throws(JobStop) {
    do throws(StoreError) {
      try await node.store.checkpoint(run.checkpoint(), step: run.step, progress: progress, of: job.id)
    } catch {
      throw JobStop(ServingError(error))
    }
    node.signals.moved(job.id)
  }

  private func publish(
    _ run: TrainingRun, _ job: JobRecord, _ prepared: Prepared, _ node: Node
  ) async throws(JobStop) {
    let (version, metrics) = run.result()
    guard let task = job.task else { throw .failed(code: "internal", detail: "The job has no task.") }
    do throws(ServingError) {
      var activate = prepared.request.activate != .never
      var ifActive: Int??
      if prepared.request.activate == .ifBetter {
        let served = node.catalog.lookup(task)
        activate = try await isBetter(metrics, than: served, prepared, node)
        // It takes the place of what it was compared with, and of nothing that was activated meanwhile.
        if activate { ifActive = .some(try await replaced(served, task, node)) }
      }
      _ = try await node.publish(
        version, task: task, activate: activate, ifActive: ifActive,
        metricsJSON: metrics.map { JSONText.object($0) } ?? "{}",
        job: job.id, principal: Principal(name: job.createdBy))
    } catch {
      throw JobStop(error)
    }
  }

  /// The number of the active version: the served one, or that of another base.
  private func replaced(
    _ served: ActiveTask?, _ task: String, _ node: Node
  ) async throws(ServingError) -> Int? {
    if let served { return served.version }
    do throws(StoreError) {
      return try await node.store.task(task).active?.version
    } catch {
      guard case .notFound = error else { throw ServingError(error) }
      return nil
    }
  }

  /// Whether the new version's figure is above that of the active one on the same validation rows. True where there is
  /// nothing to compare.
  private func isBetter(
    _ metrics: TrainingMetrics?, than active: ActiveTask?, _ prepared: Prepared, _ node: Node
  ) async throws(ServingError) -> Bool {
    let kind = prepared.request.settings.kind
    guard let active, active.kind == kind, kind != .embedding,
      let score = metrics?.score(kind)
    else { return true }
    let lease = try await node.lease(active)
    if kind == .generation {
      return try await writesBetter(metrics, than: lease, prepared.set, node)
    }
    let examples = prepared.set.validationExamples.map { prepared.examples[$0] }
    guard !examples.isEmpty, let adapter = lease.adapter else { return true }
    let length = prepared.request.settings.maxLength
    let rows = examples.map { example in
      let (text, pair) = example.texts
      let encoding = node.tokenizer.encode(text, pair: pair, limit: length)
      return BatchRow(
        ids: encoding.ids, typeIDs: encoding.typeIDs, adapter: adapter, subspace: lease.subspace,
        normalize: true)
    }
    var predictions: [Prediction] = []
    let executor = BatchExecutor(base: node.model, lanes: node.lanes)
    for start in stride(from: 0, to: rows.count, by: 32) {
      predictions += await executor.run(
        Array(rows[start..<min(start + 32, rows.count)]), primary: node.subspaces.primary)
    }
    do throws(TrainingError) {
      let evaluation = try Evaluation(
        kind: kind, labels: adapter.head.head.labels, predictions: predictions, examples: examples)
      let before: Double? =
        switch kind {
        case .classification, .embedding: evaluation.accuracy
        case .multilabel: evaluation.macroF1
        case .regression: evaluation.meanSquaredError.map { -$0.squareRoot() }
        case .generation: nil
        }
      return before.map { score > $0 } ?? true
    } catch {
      throw ServingError(error)
    }
  }
}

extension JobRunner {
  /// The same by the mean loss of a token.
  private func writesBetter(
    _ metrics: TrainingMetrics?, than lease: Node.Lease, _ set: TrainingSet, _ node: Node
  ) async throws(ServingError) -> Bool {
    guard let loss = metrics?.validationLoss, let adapter = lease.adapter, set.validationMass > 0 else {
      return true
    }
    let (base, primary, subspace) = (node.model, node.subspaces.primary, lease.subspace)
    let sums = await node.lanes.map(.training, set.validationPieces) { rows, arena in
      set.writingLoss(of: rows, base: base, arena: arena) { tokens in
        BatchPatch(
          sites: base.sites, groups: [RowGroup(rows: 0..<tokens, adapter: adapter, subspace: subspace)],
          primary: primary)
      }
    }
    return loss < sums.reduce(0, +) / set.validationMass
  }
}

/// Steps and rows over time, for rates and the time left.
private struct Meter {
  private let started = Clock.nanoseconds()
  private let firstStep: Int
  private var examples = 0

  init(step: Int) { firstStep = step }

  mutating func add(_ report: TrainingReport) { examples += report.examples }

  func progress(_ run: TrainingRun, _ report: TrainingReport?) -> JobProgress {
    let seconds = max(1e-9, Double(Clock.nanoseconds() - started) / 1e9)
    let done = run.step - firstStep
    return JobProgress(
      progress: Double(run.step) / Double(max(1, run.totalSteps)), epoch: run.epoch, step: run.step,
      steps: run.totalSteps, loss: report?.loss, examplesPerSecond: Double(examples) / seconds,
      secondsLeft: done > 0 ? seconds / Double(done) * Double(run.totalSteps - run.step) : nil,
      metrics: report?.metrics.map { JSONText.object($0) })
  }
}

/// The data of a `step` event.
private struct StepEvent: Encodable {
  let step: Int
  let steps: Int
  let epoch: Int
  let loss: Double
  let learningRate: Float
  let examplesPerSecond: Double?
  let secondsLeft: Double?

  init(_ report: TrainingReport, _ progress: JobProgress) {
    step = report.step
    steps = report.totalSteps
    epoch = report.epoch
    loss = report.loss
    learningRate = report.learningRate
    examplesPerSecond = progress.examplesPerSecond
    secondsLeft = progress.secondsLeft
  }
}
