internal import Adapters
internal import Engine
internal import Foundation
internal import Models
internal import Store
internal import Training

extension Node {
  public func accepted(
    under key: String, requestDigest: String, principal: Principal
  ) async throws(ServingError) -> JobSummary? {
    try requireOpen()
    return try await stored { () throws(StoreError) in
      try await store.job(idempotencyKey: key, by: principal.name, requestDigest: requestDigest)
    }.map(Self.summary(_:))
  }

  public func train(
    _ request: TrainingRequest, principal: Principal
  ) async throws(ServingError) -> JobSummary {
    try requireOpen()
    // Before any check: what was accepted once stays accepted.
    if let key = request.idempotencyKey,
      let known = try await accepted(
        under: key, requestDigest: request.requestDigest, principal: principal)
    {
      return known
    }
    let subspace = try await check(request)
    let dataset: String
    var upload: StoredUpload?
    switch request.data {
    case .dataset(let id):
      let record = try await stored { () throws(StoreError) in try await store.dataset(id) }
      guard record.kind == request.settings.kind.rawValue else {
        throw .validation([
          FieldError("/kind", "the data set is of another kind", allowed: record.kind)
        ])
      }
      try await checkRows(examples(of: id), request)
      dataset = id
    case .examples(let examples):
      try await checkRows(examples, request)
      let id = try await stored { () throws(StoreError) in
        try await store.beginDataset(
          name: request.task, kind: request.settings.kind.rawValue, isInline: true, by: principal.name)
      }
      upload = StoredUpload(id: id, kind: request.settings.kind, store: store)
      dataset = id
    }
    let stored = StoredTrainingRequest(
      settings: request.settings, subspace: subspace, activate: request.activate,
      fromTask: request.from?.task,
      fromVersion: request.from?.version)
    let visible = stored.visible(on: model.family)
    let job = NewJob(
      type: JobType.train.rawValue, base: base.digest, task: request.task, method: request.settings.method,
      settings: visible, request: JSONText.plain(stored), dataset: dataset,
      idempotencyKey: request.idempotencyKey, requestDigest: request.requestDigest,
      createdBy: principal.name)
    guard let upload, case .examples(let examples) = request.data else { return try await accept(job).job }
    do throws(ServingError) {
      // Visible and durable with the job: one commit accepts both.
      try await upload.append(examples)
      let accepted = try await accept(job)
      if !accepted.isNew { await upload.abandon() }
      return accepted.job
    } catch {
      await upload.abandon()
      throw error
    }
  }

  public func jobs(
    type: JobType?, state: JobState?, task: String?, after: String?, limit: Int
  ) async throws(ServingError) -> Page<JobSummary> {
    let records = try await stored { () throws(StoreError) in
      try await store.jobs(
        type: type?.rawValue, state: state?.rawValue, task: task, after: after, limit: limit + 1)
    }
    return page(records, limit: limit, key: \.id, Self.summary(_:))
  }

  public func job(_ id: String) async throws(ServingError) -> JobSummary {
    Self.summary(try await stored { () throws(StoreError) in try await store.job(id) })
  }

  public func cancel(job: String) async throws(ServingError) -> JobSummary {
    try await steer(job, .cancel, from: ["queued", "paused"], to: .cancelled)
  }

  public func pause(job: String) async throws(ServingError) -> JobSummary {
    try await steer(job, .pause, from: ["queued"], to: .paused)
  }

  public func resume(job: String) async throws(ServingError) -> JobSummary {
    let record = try await stored { () throws(StoreError) in
      try await store.transition(job, from: ["paused"], to: "queued", event: #"{"state":"queued"}"#)
    }
    signals.moved(job)
    runner.wake()
    return Self.summary(record)
  }

  public func events(
    of job: String, after id: Int64, waitMilliseconds: Int
  ) async throws(ServingError) -> (events: [JobEvent], isFinal: Bool) {
    let changes = signals.changes(of: job)
    var found = try await read(job, after: id)
    if found.events.isEmpty, found.state != .running, !found.state.isFinal, isRetired { throw .draining }
    if found.events.isEmpty, !found.isFinal, waitMilliseconds > 0 {
      await JobSignals.wait(for: changes, milliseconds: waitMilliseconds)
      // A cancelled task does not wait: its caller would ask again without end.
      if Task.isCancelled { throw .cancelled }
      found = try await read(job, after: id)
    }
    return (found.events, found.isFinal)
  }

  public func events(
    of job: String, before id: Int64?, limit: Int
  ) async throws(ServingError) -> Page<JobEvent> {
    let records = try await stored { () throws(StoreError) in
      try await store.events(of: job, before: id ?? .max, limit: limit + 1)
    }
    return page(records, limit: limit, key: { String($0.id) }, Self.event(_:))
  }

  public func checkpoints(of job: String) async throws(ServingError) -> [JobCheckpoint] {
    try await stored { () throws(StoreError) in try await store.checkpoints(of: job) }.map {
      JobCheckpoint(step: $0.step, loss: $0.loss, createdAt: Timestamp.text($0.at))
    }
  }

  private static func event(_ record: EventRecord) -> JobEvent {
    JobEvent(
      id: record.id, kind: record.kind, dataJSON: record.data, createdAt: Timestamp.text(record.at))
  }

  func accept(_ new: NewJob) async throws(ServingError) -> (job: JobSummary, isNew: Bool) {
    let (record, isNew) = try await stored { () throws(StoreError) in
      try await store.insert(new, limit: configuration.queueJobs)
    }
    if isNew { runner.wake() }
    return (Self.summary(record), isNew)
  }

  private func read(
    _ job: String, after id: Int64
  ) async throws(ServingError) -> (events: [JobEvent], isFinal: Bool, state: JobState) {
    // The state first: events written after it was read are found the next time.
    let record = try await stored { () throws(StoreError) in try await store.job(job) }.state
    let limit = 256
    let events = try await stored { () throws(StoreError) in
      try await store.events(of: job, after: id, limit: limit)
    }
    let state = JobState(rawValue: record) ?? .failed
    return (
      events.map(Self.event(_:)),
      state.isFinal && events.count < limit, state
    )
  }

  /// Moves a job that waits at once, and asks a running one to stop at its next step.
  private func steer(
    _ job: String, _ intent: JobRunner.Intent, from waiting: Set<String>, to state: JobState
  ) async throws(ServingError) -> JobSummary {
    var changes = signals.changes(of: job).makeAsyncIterator()
    var isAsked = false
    while true {
      // Tried rather than looked up: the runner may take the job between a look and a move.
      do throws(StoreError) {
        let moved = try await store.transition(
          job, from: Array(waiting), to: state.rawValue, event: #"{"state":"\#(state.rawValue)"}"#)
        signals.moved(job)
        return Self.summary(moved)
      } catch {
        // Done as asked; or it ended by itself first, or another caller was quicker: then this one is refused.
        if isAsked, case .jobState(state.rawValue) = error { return try await self.job(job) }
        guard case .jobState(let actual) = error, actual == JobState.running.rawValue else {
          throw ServingError(error)
        }
      }
      runner.ask(job, intent)
      isAsked = true
      repeat {
        guard await changes.next() != nil else { throw .cancelled }
      } while try await self.job(job).state == .running
    }
  }

  /// Everything that can be refused before the job is accepted.
  ///
  /// - Returns: the digest of the subspace, where the method needs one.
  private func check(_ request: TrainingRequest) async throws(ServingError) -> String? {
    try await admitJob()
    do throws(TrainingError) { try request.settings.validate(on: model.family) } catch {
      throw ServingError(error)
    }
    guard request.task != Self.baseTask else {
      throw .validation([FieldError("/task", "base is reserved", allowed: "another name")])
    }
    guard request.settings.maxLength <= checkpoint.textLimit else {
      throw .validation([
        FieldError(
          "/max_length", "is \(request.settings.maxLength)", allowed: "3 through \(checkpoint.textLimit)")
      ])
    }
    do throws(StoreError) {
      let task = try await store.task(request.task)
      guard task.kind == request.settings.kind.rawValue else {
        throw StoreError.kindMismatch(task: request.task, kind: task.kind)
      }
    } catch {
      guard case .notFound = error else { throw ServingError(error) }
    }
    let subspace = try await subspace(of: request)
    if let from = request.from {
      let version = try await adapterVersion(from.version, of: from.task)
      guard "\(version.base)" == base.digest else {
        throw .baseMismatch(expected: base.digest, actual: "\(version.base)")
      }
      do throws(TrainingError) {
        try request.settings.check(start: version, base: model, subspace: subspace)
      } catch {
        throw ServingError(error)
      }
    }
    return subspace
  }

  /// The digest of the subspace that the method needs.
  private func subspace(of request: TrainingRequest) async throws(ServingError) -> String? {
    guard let method = TrainingMethods.named(request.settings.method), method.needsSubspace else {
      if request.subspace != nil {
        throw .validation([FieldError("/subspace", "\(request.settings.method) uses none")])
      }
      return nil
    }
    let record = try await stored { () throws(StoreError) in
      try await store.subspace(request.subspace ?? "default", base: base.digest)
    }
    guard record.base == "\(model.digest)" else {
      throw .baseMismatch(expected: "\(model.digest)", actual: record.base)
    }
    guard request.settings.rank <= record.rank else {
      throw .validation([
        FieldError("/rank", "is \(request.settings.rank)", allowed: "1 through \(record.rank)")
      ])
    }
    return record.digest
  }

  /// Labels and rows, before a job is accepted: what training would refuse.
  private func checkRows(
    _ examples: [TrainingExample], _ request: TrainingRequest
  ) async throws(ServingError) {
    var labels: [String]?
    do throws(StoreError) {
      let task = try await store.task(request.task)
      if task.active != nil { labels = JSONText.strings(task.labels) }
    } catch {
      guard case .notFound = error else { throw ServingError(error) }
    }
    let kind = request.settings.kind
    let check: @Sendable () -> Result<Void, TrainingError> = {
      [labels, writer = kind == .generation ? writerEncoder : nil] in
      Result { () throws(TrainingError) in
        try TrainingSet.check(examples, kind: kind, labels: labels, writer: writer)
      }
    }
    // Conversations are rendered: that is a lane's work.
    let checked = kind == .generation ? await lanes.run(.training) { _ in check() } : check()
    do throws(TrainingError) { try checked.get() } catch { throw ServingError(error) }
  }

  static func summary(_ record: JobRecord) -> JobSummary {
    JobSummary(
      id: record.id, type: JobType(rawValue: record.type) ?? .train,
      state: JobState(rawValue: record.state) ?? .failed, task: record.task, method: record.method,
      settingsJSON: record.settings, progress: record.progress, epoch: record.epoch, step: record.step,
      steps: record.steps, loss: record.loss, examplesPerSecond: record.examplesPerSecond,
      secondsLeft: record.secondsLeft, metricsJSON: record.metrics, version: record.version,
      subspace: record.subspace, dataset: record.dataset,
      error: record.errorCode.map { ($0, record.errorDetail ?? "") },
      createdAt: Timestamp.text(record.createdAt), startedAt: record.startedAt.map(Timestamp.text),
      finishedAt: record.finishedAt.map(Timestamp.text), createdBy: record.createdBy)
  }
}

/// What the runner needs to train, after a restart too.
struct StoredTrainingRequest: Codable, Sendable {
  let settings: TrainingSettings
  let subspace: String?
  let activate: Activation
  let fromTask: String?
  let fromVersion: Int?

  /// The settings as the job shows them, by the names of the request.
  func visible(on family: ModelFamily) -> String {
    struct Visible: Encodable {
      let kind: String
      let method: String
      let subspace: String?
      let rank: Int
      let alpha: Float
      let sites: [String]
      let epochs: Int
      let batchSize: Int
      let learningRate: Float
      let headLearningRate: Float
      let basisLearningRate: Float?
      let schedule: String
      let warmup: Float
      let weightDecay: Float
      let clipNorm: Float
      let dropout: Float
      let maxLength: Int
      let validation: Float
      let seed: UInt64
      let pooling: String
      let headDense: String
      let temperature: Float
      let recompute: Bool
      let activate: String
      let from: String?
    }
    return JSONText.object(
      Visible(
        kind: settings.kind.rawValue, method: settings.method, subspace: subspace, rank: settings.rank,
        alpha: settings.alpha, sites: settings.sites.map(family.name(of:)), epochs: settings.epochs,
        batchSize: settings.batchSize, learningRate: settings.learningRate,
        headLearningRate: settings.headLearningRate, basisLearningRate: settings.basisRate,
        schedule: settings.schedule.rawValue, warmup: settings.warmup, weightDecay: settings.weightDecay,
        clipNorm: settings.clipNorm, dropout: settings.dropout, maxLength: settings.maxLength,
        validation: settings.validation, seed: settings.seed, pooling: settings.pooling.rawValue,
        headDense: settings.headDense.rawValue, temperature: settings.temperature,
        recompute: settings.recompute, activate: activate.rawValue,
        from: fromTask.flatMap { task in fromVersion.map { "\(task)@\($0)" } }))
  }
}
