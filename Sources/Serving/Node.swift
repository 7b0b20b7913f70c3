internal import Adapters
internal import Digests
internal import Engine
internal import Foundation
public import Logging
internal import Models
internal import Store
internal import Synchronization
internal import Tokenizers
internal import Training

/// One daemon's core: a resident base, the store, the lanes, and what moves between them.
public final class Node: ServingNode {
  public let base: BaseSummary
  let configuration: ServingConfiguration
  let folder: ModelFolder
  let model: BaseModel
  let store: Store
  let lanes: ComputeLanes
  let cache: AdapterCache
  let catalog = Catalog()
  let subspaces: SubspaceCache
  let stages: InferenceStages
  let scheduler: InferenceScheduler
  /// nil for an encoder.
  let writer: Writer?
  let signals = JobSignals()
  let runner: JobRunner
  let log: Logger
  private let phase = Mutex(Phase.open)

  var checkpoint: Checkpoint { folder.checkpoint }
  var tokenizer: Tokenizer { folder.tokenizer }
  /// How the rows of writers become tokens.
  var writerEncoder: WriterEncoder {
    // An end token beyond the vocabulary ends no text and cannot be learnt either.
    let ends = checkpoint.endTokenIDs.filter { 0..<checkpoint.configuration.vocabularySize ~= $0 }
    return WriterEncoder(tokenizer: tokenizer, chat: folder.chat, ends: ends.map { Int32($0) })
  }

  private enum Phase { case open, draining, closed }

  /// Opens the base, the store and the lanes; makes the subspace `default` where the store has none for this base.
  ///
  /// - Parameter isStopping: asked between the steps, each of which takes seconds; true ends the opening.
  /// - Throws: `.validation` naming the model's fault, `.storeUnavailable`, `.cancelled`; nothing is open then.
  public static func open(
    _ configuration: ServingConfiguration, log: Logger, isStopping: @Sendable () -> Bool = { false }
  ) async throws(ServingError) -> Node {
    try await open(configuration, log: log, isStopping: isStopping) { $0 }
  }

  /// - Parameter replacing: other stages for the real ones.
  package static func open(
    _ configuration: ServingConfiguration, log: Logger, isStopping: @Sendable () -> Bool = { false },
    replacing: @Sendable (InferenceStages) -> InferenceStages
  ) async throws(ServingError) -> Node {
    let format = try WeightFormat(named: configuration.weights)
    var watch = Stopwatch()
    log.info(
      "opening",
      metadata: ["model": "\(configuration.modelDirectory)", "store": "\(configuration.storePath)"])
    let folder = try ModelFolder(directory: configuration.modelDirectory)
    let model: BaseModel
    do throws(ModelError) {
      model = try BaseModel(folder.checkpoint, weights: format)
    } catch {
      throw .validation([FieldError("model", "\(error)")])
    }
    if isStopping() { throw .cancelled }
    log.info(
      "base loaded",
      metadata: [
        "base": "\(model.digest)", "architecture": "\(model.configuration.modelType)",
        "weights": "\(format.rawValue)", "seconds": "\(watch.lap())",
      ])
    let store = try await stored { () throws(StoreError) in
      try Store(
        path: configuration.storePath, now: { Int64(Date().timeIntervalSince1970 * 1_000) },
        makeID: { $0 + Digest.hex(RandomBytes.make(count: 10)) }, faults: FaultSwitch.fromEnvironment())
    }
    let node = Node(
      configuration: configuration, folder: folder, model: model, store: store, log: log,
      replacing: replacing)
    log.info("store opened", metadata: ["seconds": "\(watch.lap())"])
    do throws(ServingError) {
      try node.checkWriter()
      try await node.loadCatalog()
      if isStopping() { throw ServingError.cancelled }
      try await node.ensureDefaultSubspace()
      if configuration.checksDeterminism { try await node.checkDeterminism() }
    } catch {
      await node.close()
      throw error
    }
    log.info(
      "tasks and subspace ready", metadata: ["tasks": "\(node.catalog.count)", "seconds": "\(watch.lap())"])
    return node
  }

  private init(
    configuration: ServingConfiguration, folder: ModelFolder, model: BaseModel, store: Store, log: Logger,
    replacing: (InferenceStages) -> InferenceStages
  ) {
    self.configuration = configuration
    self.folder = folder
    self.model = model
    self.store = store
    self.log = log
    lanes = ComputeLanes(count: configuration.lanes)
    cache = AdapterCache(limitBytes: configuration.cacheBytes)
    subspaces = SubspaceCache(
      store: store, sites: model.sites, limitBytes: configuration.subspaceCacheBytes)
    let subspaces = subspaces
    let executor = BatchExecutor(base: model, lanes: lanes)
    let tokenizer = folder.tokenizer
    stages = replacing(
      InferenceStages(
        encode: { inputs, limit in
          (0..<inputs.count).map { tokenizer.encode(inputs.text($0), pair: inputs.pair($0), limit: limit) }
        },
        compute: { executor.run($0.flatMap(\.rows), primary: subspaces.primary, done: $1) }))
    scheduler = InferenceScheduler(
      compute: stages.compute, queueRows: configuration.queueRows, batchTokens: configuration.batchTokens)
    writer =
      switch model {
      case .encoder: nil
      case .decoder(let decoder): Writer(decoder, folder, lanes: lanes, configuration)
      }
    runner = JobRunner()
    let shape = model.configuration
    base = BaseSummary(
      digest: "\(model.digest)", architecture: shape.modelType, family: shape.family,
      parameters: model.parameterCount, elementType: folder.checkpoint.elementTypeName,
      weights: model.weightFormat, width: shape.hiddenSize, layers: shape.layers, heads: shape.heads,
      contextTokens: folder.checkpoint.textLimit, residentBytes: model.residentBytes,
      sites: model.sites.map { ($0.name, $0.inputs, $0.outputs) })
  }

  /// Answers requests and runs jobs until `drain` has let both end.
  public func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.scheduler.serve() }
      group.addTask { await self.writer?.serve() }
      group.addTask { await self.runner.run(on: self) }
    }
  }

  /// Not ready from now on: new jobs and data sets are refused, the running job is checkpointed and queued for the next
  /// start, event streams end. Inference and reading go on until `drain`, because requests are still in flight.
  public func retire() {
    phase.withLock { if $0 == .open { $0 = .draining } }
    runner.stop()
    signals.wakeAll()
  }

  /// Whether `retire` was called.
  var isRetired: Bool { phase.withLock { $0 != .open } }

  /// Refuses all new work, answers what is queued, checkpoints the running job.
  public func drain() async { beginDrain() }

  /// The same, from where nothing can wait; `run` returns when it is done.
  public func beginDrain() {
    retire()
    scheduler.drain()
    writer?.beginDrain()
  }

  /// Stops the lanes and closes the store; after `run` has returned.
  public func close() async {
    phase.withLock { $0 = .closed }
    lanes.stop()
    do throws(StoreError) { try store.close() } catch { log.error("store: close failed: \(error)") }
  }

  public func readiness() async -> Readiness {
    var reasons: [String] = []
    if isRetired { reasons.append("draining") }
    if subspaces.primary == nil { reasons.append("subspace missing") }
    if !isRetired {
      do throws(StoreError) {
        try await store.checkWritable()
      } catch {
        reasons.append(Self.reason(error))
        log.error("store: cannot be written: \(error)")
      }
    }
    return Readiness(isReady: reasons.isEmpty, reasons: reasons)
  }

  private static func reason(_ fault: StoreError) -> String {
    switch fault {
    case .readOnly: "store read-only"
    case .full: "store full"
    default: "store cannot be written"
    }
  }

  public func metrics() async -> ServingMetrics {
    var metrics = ServingMetrics()
    let figures = scheduler.figures
    metrics.rowsAnswered = figures.rowsAnswered
    metrics.tokensComputed = figures.tokensComputed
    metrics.batches = figures.batches
    metrics.rowsRefused = figures.rowsRefused
    metrics.rowsExpired = figures.rowsExpired
    metrics.queuedRows = scheduler.depth
    metrics.runningRows = figures.running
    let load = scheduler.load
    metrics.writing = writer?.figures
    metrics.requestsRunning = load.requestsRunning + (metrics.writing?.running ?? 0)
    metrics.requestsWaiting = load.requestsWaiting + (metrics.writing?.waiting ?? 0)
    let (written, awaited) = (metrics.writing?.tasksRunning ?? [], metrics.writing?.tasksWaiting ?? [])
    metrics.tasksRunning = load.tasksRunning.union(written).filter { $0 != Self.baseTask }.sorted()
    metrics.tasksWaiting = load.tasksWaiting.union(awaited).filter { $0 != Self.baseTask }.sorted()
    metrics.time = Date().timeIntervalSince1970
    let cached = cache.figures
    metrics.residentAdapters = cached.entries
    metrics.residentAdapterBytes = cached.bytes
    metrics.adapterLoads = cached.loads
    metrics.adapterEvictions = cached.evictions
    metrics.residentBaseBytes = model.residentBytes
    metrics.residentSubspaceBytes = subspaces.bytes
    metrics.trainingSteps = runner.steps
    metrics.tasks = catalog.count
    if let counts = try? await store.jobCounts() {
      metrics.jobsQueued = counts["queued"] ?? 0
      metrics.jobsRunning = counts["running"] ?? 0
    }
    return metrics
  }

  func requireOpen() throws(ServingError) {
    if isRetired { throw .draining }
  }

  private func loadCatalog() async throws(ServingError) {
    let digest = "\(model.digest)"
    var strangers: [String: [String]] = [:]
    for (kind, record) in try await stored({ () throws(StoreError) in try await store.activeVersions() }) {
      if record.base != digest {
        strangers[record.base, default: []].append(record.task)
      } else if let task = ActiveTask(record, kind: kind) {
        catalog.set(task)
      }
    }
    // One line a base, whatever its tasks: "which" is also in the list of tasks, as `served: false`.
    for (base, tasks) in strangers.sorted(by: { $0.key < $1.key }) {
      let some = tasks.sorted().prefix(8).joined(separator: ", ") + (tasks.count > 8 ? ", …" : "")
      log.warning("\(tasks.count) tasks belong to another base (\(base)) and are not served: \(some)")
    }
    let waiting = try await stored { () throws(StoreError) in try await store.strangeJobCount(base: digest) }
    if waiting > 0 { log.warning("\(waiting) jobs are for another base and wait for it") }
    for job in store.crashedJobs {
      log.warning("job \(job) failed: crashed: the daemon ended again and again while it ran")
    }
  }

  /// The first start with this base: B from the base's own weights.
  private func ensureDefaultSubspace() async throws(ServingError) {
    do throws(StoreError) {
      let record = try await store.subspace("default", base: "\(model.digest)")
      try await makePrimary(record.digest)
    } catch {
      guard case .notFound = error else { throw ServingError(error) }
      try await makeDefaultSubspace()
    }
  }

  private func makeDefaultSubspace() async throws(ServingError) {
    let options = SubspaceOptions(rank: configuration.defaultSubspaceRank)
    let checkpoint = checkpoint
    var watch = Stopwatch()
    log.info("extracting the default subspace", metadata: ["rank": "\(options.rank)"])
    let made = await lanes.run(.training) { _ in
      Result { () throws(SubspaceError) in
        try SubspaceExtraction.weights([checkpoint], base: checkpoint, options: options)
      }
    }
    let subspace: Subspace
    do throws(SubspaceError) { subspace = try made.get() } catch { throw ServingError(error) }
    log.info("default subspace extracted", metadata: ["seconds": "\(watch.lap())"])
    _ = try await keep(
      subspace, name: "default", center: false, makeDefault: true, by: "corad", job: nil, finalEvent: "{}")
  }

  /// Stores a subspace and makes it resident; the pointer `default` moves with it where asked.
  func keep(
    _ subspace: Subspace, name: String, center: Bool, makeDefault: Bool, by: String, job: String?,
    finalEvent: String
  ) async throws(ServingError) -> String {
    let new = NewSubspace(
      name: name, digest: "\(subspace.digest)", base: "\(subspace.base)", source: subspace.source.rawValue,
      scope: subspace.scope.rawValue, center: center, rank: subspace.rank, bytes: subspace.encoded(),
      createdBy: by)
    let id = try await stored { () throws(StoreError) in
      try await store.insert(new, makeDefault: makeDefault, job: job, finalEvent: finalEvent)
    }
    if makeDefault {
      try await stored { () throws(StoreError) in try await makePrimary(new.digest) }
    }
    return id
  }

  private func makePrimary(_ digest: String) async throws(StoreError) {
    try await subspaces.makePrimary(digest)
    writer?.setPrimary(subspaces.primary)
  }

  /// A request finds room in the cache of keys and values; a template that cannot be read is told now and refused later.
  private func checkWriter() throws(ServingError) {
    guard let writer else { return }
    guard writer.limitTokens > 1 else {
      throw .validation([
        FieldError(
          "kv_cache_bytes", "is \(configuration.keyValueCacheBytes), which holds no page on each lane")
      ])
    }
    if let fault = writer.chat.fault { log.warning("conversations are refused: \(fault)") }
  }
}

/// Ends the process at a named commit, for crash tests: `CORAD_FAULT=publish.before-commit` or `…:3` for the third.
enum FaultSwitch {
  static func fromEnvironment() -> @Sendable (FaultPoint) -> Void {
    guard let text = ProcessInfo.processInfo.environment["CORAD_FAULT"] else { return { _ in } }
    let parts = text.split(separator: ":")
    let name = String(parts.first ?? "")
    let counter = Counter(parts.count > 1 ? Int(parts[1]) ?? 1 : 1)
    return { point in
      guard point.description == name, counter.reachesZero() else { return }
      kill(getpid(), SIGKILL)
    }
  }

  private final class Counter: Sendable {
    private let left: Mutex<Int>
    init(_ left: Int) { self.left = Mutex(left) }
    func reachesZero() -> Bool {
      left.withLock {
        $0 -= 1
        return $0 == 0
      }
    }
  }
}
