import Adapters
import Models
import Synchronization
import Training

@testable import Serving

/// A node that answers from constants, and fails where it is told to. Nothing is computed or stored.
final class StubNode: ServingNode {
  struct Seen: Sendable {
    var inputs = InferenceInputs()
    var options = InferenceOptions()
    var timeout: Int?
    var training: TrainingRequest?
    /// The data set and the task are gone.
    var isEmptied = false
    var writing: [WritingRequest] = []
    var dataset: (name: String, kind: TaskKind)?
    var rows: [TrainingExample] = []
    var finished = false
    var abandoned = false
    var eventsAfter: [Int64] = []
    /// Of the calls that must not be made on a `TestLoop`, whether one was; nil before the first.
    var wasOnLoop: Bool?
  }

  let failure: ServingError?
  let ready: Readiness
  let seen = Mutex(Seen())
  /// What `events` answers, call by call; then the end.
  let scripts: Mutex<[[JobEvent]]>
  /// What `write` answers, call by call; then it is not implemented.
  let writers: [ScriptedWriter]

  init(
    failure: ServingError? = nil, ready: Bool = true, events: [[JobEvent]] = [],
    writers: [ScriptedWriter] = [], base: BaseSummary = StubNode.encoder
  ) {
    self.base = base
    self.failure = failure
    self.writers = writers
    self.ready = Readiness(isReady: ready, reasons: ready ? [] : ["the base is loading"])
    scripts = Mutex(events)
  }

  func check() throws(ServingError) {
    if let failure { throw failure }
  }

  func noteLoop() {
    let isHere = TestLoop.isHere
    seen.withLock { $0.wasOnLoop = isHere || $0.wasOnLoop == true }
  }

  let base: BaseSummary

  static let encoder = BaseSummary(
    digest: "sha256:00", architecture: "bert", family: .encoder, parameters: 1, elementType: "float32",
    weights: .f32, width: 4, layers: 1, heads: 1, contextTokens: 512, residentBytes: 1,
    sites: [("encoder.layer.0.attention.self.query", 4, 4)])

  static let decoder = BaseSummary(
    digest: "sha256:00", architecture: "qwen3", family: .decoder, parameters: 1, elementType: "BF16",
    weights: .bf16, width: 4, layers: 1, heads: 1, contextTokens: 64, residentBytes: 1,
    sites: [("model.layers.0.self_attn.q_proj", 4, 4)])

  func readiness() async -> Readiness { ready }
  func metrics() async -> ServingMetrics { ServingMetrics() }

  static func source(_ task: String) -> AnswerSource {
    let isVector = task == "base"
    return AnswerSource(
      task: task, kind: isVector ? .embedding : .classification, version: isVector ? nil : 3,
      subspace: isVector ? nil : "sha256:01", labels: isVector ? [] : ["a", "b", "c"])
  }

  static func prediction(_ task: String) -> Prediction {
    task == "base" ? .embedding([1, -0.5]) : .classification(scores: [0.25, 0.5, 0.25])
  }

  func infer(
    task: String, of kind: TaskKind?, taskPointer: String, inputs: InferenceInputs, options: InferenceOptions,
    timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    try check()
    if let kind, Self.source(task).kind != kind {
      throw .validation([FieldError(taskPointer, "is of another kind", allowed: kind.rawValue)])
    }
    seen.withLock {
      $0.inputs = inputs
      $0.options = options
      $0.timeout = timeoutMilliseconds
    }
    return InferenceResult(
      predictions: (0..<inputs.count).map { _ in Self.prediction(task) }, sources: [Self.source(task)],
      tokens: 5 * inputs.count, queueMilliseconds: 0.25, computeMilliseconds: 1.5)
  }

  func infer(
    items: [InferenceItem], inputs: InferenceInputs, timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    try check()
    seen.withLock { $0.inputs = inputs }
    return InferenceResult(
      predictions: items.map { Self.prediction($0.task) }, sources: items.map { Self.source($0.task) },
      sourceOf: Array(items.indices), tokens: 5 * items.count, computeMilliseconds: 1)
  }

  static let versionSummary = VersionSummary(
    version: 3, digest: "sha256:02", method: "cora", rank: 8, alpha: 16, sites: ["query"],
    subspace: "sha256:01", base: "sha256:00", bytes: 10, metricsJSON: #"{"accuracy":0.5}"#, job: nil,
    createdAt: "2026-01-02T03:04:05Z", createdBy: "anonymous")
  static let taskSummary = TaskSummary(
    name: "tickets", kind: .classification, labels: ["a", "b", "c"], activeVersion: 3,
    active: versionSummary, versionCount: 1, bytes: 10, isServed: true, createdAt: "2026-01-02T03:04:05Z",
    createdBy: "anonymous")
  static let datasetSummary = DatasetSummary(
    id: "ds_1", name: "rows", kind: .classification, rows: 2, bytes: 20,
    createdAt: "2026-01-02T03:04:05Z", createdBy: "anonymous")
  static let jobSummary = JobSummary(
    id: "job_1", type: .train, state: .queued, task: "tickets", method: "cora", settingsJSON: "{}",
    progress: 0, epoch: nil, step: nil, steps: nil, loss: nil, examplesPerSecond: nil, secondsLeft: nil,
    metricsJSON: nil, version: nil, subspace: nil, dataset: "ds_1", error: nil,
    createdAt: "2026-01-02T03:04:05Z",
    startedAt: nil, finishedAt: nil, createdBy: "anonymous")
  static let subspaceSummary = SubspaceSummary(
    id: "sub_1", name: "default", digest: "sha256:01", base: "sha256:00", source: .weights, scope: .site,
    center: false, rank: 2, isDefault: true, bytes: 32,
    sites: [.init(name: "q", outputs: 4, rank: 2, singularValues: [2, 1], energyKept: 0.5)],
    createdAt: "2026-01-02T03:04:05Z", createdBy: "anonymous")

  func tasks(after: String?, limit: Int) async throws(ServingError) -> Page<TaskSummary> {
    try check()
    return Page(elements: [Self.taskSummary], next: "tickets")
  }
  func task(_ name: String) async throws(ServingError) -> TaskSummary {
    try check()
    if seen.withLock({ $0.isEmptied }) { throw .notFound(.task, id: name) }
    return Self.taskSummary
  }
  func versions(of task: String) async throws(ServingError) -> [VersionSummary] { [Self.versionSummary] }
  func version(_ version: Int, of task: String) async throws(ServingError) -> VersionSummary {
    try check()
    return Self.versionSummary
  }
  func activate(
    task: String, version: Int, expected: Int?, principal: Principal
  ) async throws(ServingError) -> TaskSummary {
    try check()
    return Self.taskSummary
  }
  func rollback(task: String, principal: Principal) async throws(ServingError) -> TaskSummary {
    try check()
    return Self.taskSummary
  }
  func delete(task: String) async throws(ServingError) { try check() }
  func delete(version: Int, of task: String) async throws(ServingError) { try check() }

  func beginDataset(
    name: String, kind: TaskKind, principal: Principal
  ) async throws(ServingError) -> any DatasetUpload {
    try check()
    seen.withLock { $0.dataset = (name, kind) }
    return StubUpload(node: self)
  }
  func datasets(after: String?, limit: Int) async throws(ServingError) -> Page<DatasetSummary> {
    try check()
    return Page(elements: [Self.datasetSummary], next: nil)
  }
  func dataset(_ id: String) async throws(ServingError) -> DatasetSummary {
    try check()
    guard id == "ds_1", !seen.withLock({ $0.isEmptied }) else { throw .notFound(.dataset, id: id) }
    return Self.datasetSummary
  }
  func deleteDataset(_ id: String) async throws(ServingError) { try check() }
  func rows(of dataset: String, from row: Int) async throws(ServingError) -> DatasetRows {
    _ = try await self.dataset(dataset)
    noteLoop()
    let batches: [[TrainingExample]] = [
      [
        .classification(text: "a", pair: "b", label: "x", weight: 0.5),
        .multilabel(text: "c", labels: ["y", "z"]),
      ],
      [.regression(text: "d", value: -1.5), .embedding(anchor: "e", positive: "f", negative: "g")],
    ]
    return DatasetRows(rows: batches[row / 2], next: row == 0 ? 2 : nil)
  }

  func accepted(
    under key: String, requestDigest: String, principal: Principal
  ) async throws(ServingError) -> JobSummary? {
    guard let training = seen.withLock({ $0.training }), training.idempotencyKey == key else { return nil }
    guard training.requestDigest == requestDigest else { throw .idempotencyConflict }
    return Self.jobSummary
  }
  func train(
    _ request: TrainingRequest, principal: Principal
  ) async throws(ServingError) -> JobSummary {
    try check()
    noteLoop()
    seen.withLock { $0.training = request }
    return Self.jobSummary
  }
  func jobs(
    type: JobType?, state: JobState?, task: String?, after: String?, limit: Int
  ) async throws(ServingError) -> Page<JobSummary> {
    try check()
    return Page(elements: [Self.jobSummary], next: nil)
  }
  func job(_ id: String) async throws(ServingError) -> JobSummary {
    try check()
    guard id == "job_1" else { throw .notFound(.job, id: id) }
    return Self.jobSummary
  }
  func cancel(job: String) async throws(ServingError) -> JobSummary { try await self.job(job) }
  func pause(job: String) async throws(ServingError) -> JobSummary { try await self.job(job) }
  func resume(job: String) async throws(ServingError) -> JobSummary { try await self.job(job) }
  func events(
    of job: String, after id: Int64, waitMilliseconds: Int
  ) async throws(ServingError) -> (events: [JobEvent], isFinal: Bool) {
    seen.withLock { $0.eventsAfter.append(id) }
    return scripts.withLock { scripts in
      let events = scripts.isEmpty ? [] : scripts.removeFirst()
      return (events, scripts.isEmpty)
    }
  }
  func events(
    of job: String, before id: Int64?, limit: Int
  ) async throws(ServingError) -> Page<JobEvent> {
    _ = try await self.job(job)
    let events = [
      JobEvent(
        id: 3, kind: "step", dataJSON: #"{"step":1,"steps":6,"loss":0.5}"#, createdAt: "2026-01-02T03:04:06Z"),
      JobEvent(id: 2, kind: "state", dataJSON: #"{"state":"running"}"#, createdAt: "2026-01-02T03:04:05Z"),
      JobEvent(id: 1, kind: "state", dataJSON: #"{"state":"queued"}"#, createdAt: "2026-01-02T03:04:05Z"),
    ].filter { $0.id < id ?? .max }
    return Page(
      elements: Array(events.prefix(limit)),
      next: events.count > limit ? String(events[limit - 1].id) : nil)
  }
  func checkpoints(of job: String) async throws(ServingError) -> [JobCheckpoint] {
    _ = try await self.job(job)
    return [
      JobCheckpoint(step: 8, loss: 0.25, createdAt: "2026-01-02T03:04:07Z"),
      JobCheckpoint(step: 4, loss: nil, createdAt: "2026-01-02T03:04:06Z"),
    ]
  }

  func writes(_ task: String) async -> Bool { base.family == .decoder && ["base", "poems"].contains(task) }

  func write(
    _ request: WritingRequest, timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> Writing {
    try check()
    let script = seen.withLock { seen in
      seen.writing.append(request)
      seen.timeout = timeoutMilliseconds
      return seen.writing.count <= writers.count ? writers[seen.writing.count - 1] : nil
    }
    guard let script else { throw .notImplemented("The base does not write.") }
    return Writing(
      task: request.task, version: request.task == "base" ? nil : 3,
      subspace: request.task == "base" ? nil : "sha256:01", createdAt: 1_767_323_045, pieces: script)
  }

  func subspaces(after: String?, limit: Int) async throws(ServingError) -> Page<SubspaceSummary> {
    try check()
    return Page(elements: [Self.subspaceSummary], next: nil)
  }
  func subspace(_ id: String) async throws(ServingError) -> SubspaceSummary {
    try check()
    noteLoop()
    return Self.subspaceSummary
  }
  func makeSubspace(
    _ request: SubspaceRequest, principal: Principal
  ) async throws(ServingError) -> JobSummary {
    try check()
    noteLoop()
    return Self.jobSummary
  }
}

struct StubUpload: DatasetUpload {
  let node: StubNode

  func append(_ rows: [TrainingExample]) async throws(ServingError) {
    node.noteLoop()
    node.seen.withLock { $0.rows += rows }
  }
  func finish() async throws(ServingError) -> DatasetSummary {
    node.seen.withLock { $0.finished = true }
    return StubNode.datasetSummary
  }
  func abandon() async { node.seen.withLock { $0.abandoned = true } }
}

/// An answer that is known beforehand, piece by piece.
final class ScriptedWriter: WrittenPieces {
  private struct State {
    var rest: [WrittenPiece]
    var isCancelled = false
  }

  private let state: Mutex<State>
  /// Thrown where the pieces end without `.end`.
  private let failure: ServingError

  init(_ pieces: [WrittenPiece], failure: ServingError = .cancelled) {
    state = Mutex(State(rest: pieces))
    self.failure = failure
  }

  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  func next(waitMilliseconds: Int) async throws(ServingError) -> WrittenPiece {
    guard let piece = state.withLock({ $0.rest.isEmpty ? nil : $0.rest.removeFirst() }) else { throw failure }
    return piece
  }

  func cancel() { state.withLock { $0.isCancelled = true } }
}
