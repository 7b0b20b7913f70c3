public import Adapters
public import Training

/// The use cases of one daemon on one base, in plain values. The only door into everything below.
public protocol ServingNode: Sendable {
  var base: BaseSummary { get }
  func readiness() async -> Readiness
  func metrics() async -> ServingMetrics

  // MARK: inference
  /// Answers every input with one task, in one request; `base` is the bare base (an embedding, on an
  /// encoder).
  /// - Parameters:
  ///   - kind: what the task must be of, which is checked before any input is read; nil: any kind that answers.
  ///   - taskPointer: where the request names the task.
  /// - Throws: `.notFound`, `.textTooLong`, `.validation`, `.overloaded`, `.deadlineExceeded`, `.cancelled`.
  func infer(
    task: String, of kind: TaskKind?, taskPointer: String, inputs: InferenceInputs, options: InferenceOptions,
    timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult
  /// Answers rows of many tasks, an item each; every row is checked before any is queued.
  func infer(
    items: [InferenceItem], inputs: InferenceInputs, timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult

  // MARK: writing
  /// Whether a task continues texts: `base` where the base is a decoder, and tasks of a kind that writes. False for a
  /// name that is not known.
  func writes(_ task: String) async -> Bool
  /// Begins to continue a prompt; what is written is pulled from the answer.
  /// - Throws: `.notImplemented` where the base does not write; `.notFound`, `.textTooLong`, `.validation`,
  ///   `.templateFailed`, `.overloaded`, `.draining`.
  func write(_ request: WritingRequest, timeoutMilliseconds: Int?, principal: Principal)
    async throws(ServingError) -> Writing

  // MARK: tasks
  func tasks(after: String?, limit: Int) async throws(ServingError) -> Page<TaskSummary>
  func task(_ name: String) async throws(ServingError) -> TaskSummary
  func versions(of task: String) async throws(ServingError) -> [VersionSummary]
  func version(_ version: Int, of task: String) async throws(ServingError) -> VersionSummary
  /// Compare-and-set where `expected` is given. Durable when it returns.
  func activate(task: String, version: Int, expected: Int?, principal: Principal)
    async throws(ServingError) -> TaskSummary
  /// Moves back to the version that was active before.
  func rollback(task: String, principal: Principal) async throws(ServingError) -> TaskSummary
  func delete(task: String) async throws(ServingError)
  func delete(version: Int, of task: String) async throws(ServingError)

  // MARK: data sets
  /// Starts an upload; nothing is visible until `finish`.
  func beginDataset(name: String, kind: TaskKind, principal: Principal)
    async throws(ServingError) -> any DatasetUpload
  func datasets(after: String?, limit: Int) async throws(ServingError) -> Page<DatasetSummary>
  func dataset(_ id: String) async throws(ServingError) -> DatasetSummary
  /// The rows from one on (0, or the `next` of the answer before), as many as are stored together.
  func rows(of dataset: String, from row: Int) async throws(ServingError) -> DatasetRows
  func deleteDataset(_ id: String) async throws(ServingError)

  // MARK: jobs
  /// The job that was accepted under an idempotency key before, whatever became of its data set and its task since;
  /// nil where there is none.
  /// - Throws: `.idempotencyConflict` where the key came with another digest.
  func accepted(under key: String, requestDigest: String, principal: Principal)
    async throws(ServingError) -> JobSummary?
  /// Stores the job and its data durably, then returns; a request that `accepted` knows gives its job.
  func train(_ request: TrainingRequest, principal: Principal) async throws(ServingError) -> JobSummary
  func jobs(type: JobType?, state: JobState?, task: String?, after: String?, limit: Int)
    async throws(ServingError) -> Page<JobSummary>
  func job(_ id: String) async throws(ServingError) -> JobSummary
  func cancel(job: String) async throws(ServingError) -> JobSummary
  func pause(job: String) async throws(ServingError) -> JobSummary
  func resume(job: String) async throws(ServingError) -> JobSummary
  /// Events after an id, oldest first; waits up to `waitMilliseconds` for the first where there is none.
  /// An empty array: none came. `isFinal`: the job has ended and these are its last events.
  /// - Throws: `.notFound`, `.draining` for a job that waits; `.cancelled` where the wait was.
  func events(of job: String, after id: Int64, waitMilliseconds: Int)
    async throws(ServingError) -> (events: [JobEvent], isFinal: Bool)
  /// Events before an id, newest first; `next` is the id to go on before.
  func events(of job: String, before id: Int64?, limit: Int) async throws(ServingError) -> Page<JobEvent>
  /// Newest first; none once the job has ended.
  func checkpoints(of job: String) async throws(ServingError) -> [JobCheckpoint]

  // MARK: subspaces
  func subspaces(after: String?, limit: Int) async throws(ServingError) -> Page<SubspaceSummary>
  /// By id, name or digest.
  func subspace(_ id: String) async throws(ServingError) -> SubspaceSummary
  func makeSubspace(_ request: SubspaceRequest, principal: Principal)
    async throws(ServingError) -> JobSummary
}

extension ServingNode {
  /// Answers with a task of any kind that answers, which the request's path names.
  public func infer(
    task: String, inputs: InferenceInputs, options: InferenceOptions, timeoutMilliseconds: Int?,
    principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    try await infer(
      task: task, of: nil, taskPointer: "task", inputs: inputs, options: options,
      timeoutMilliseconds: timeoutMilliseconds, principal: principal)
  }
}

/// One streaming upload: rows are written in batches, all or nothing.
public protocol DatasetUpload: Sendable {
  /// - Throws: `.invalidRow`, `.insufficientStorage`, `.storeUnavailable`.
  func append(_ rows: [TrainingExample]) async throws(ServingError)
  func finish() async throws(ServingError) -> DatasetSummary
  func abandon() async
}
