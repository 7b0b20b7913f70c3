public import Adapters
public import Models
public import Training

/// Who asks. Stored as `created_by` with whatever the request makes.
public struct Principal: Sendable, Hashable {
  public let name: String
  public init(name: String) { self.name = name }
  /// The caller of a daemon without keys.
  public static let anonymous = Principal(name: "anonymous")
}

/// What to do with a text above the limit.
public enum Truncation: String, Sendable, CaseIterable {
  case error, end
}

/// How an answer is wanted.
public struct InferenceOptions: Sendable, Equatable {
  /// The labels to list in `scores`, best first; nil: all.
  public var topK: Int?
  /// A version other than the active one.
  public var version: Int?
  public var truncate: Truncation = .error
  /// Embeddings have length 1.
  public var normalize = true

  public init() {}
}

/// What one row of `POST /infer` asks for, beside its text.
public struct InferenceItem: Sendable {
  public let task: String
  public let options: InferenceOptions

  public init(task: String, options: InferenceOptions) {
    self.task = task
    self.options = options
  }
}

/// Who gave answers: one version of one task.
public final class AnswerSource: Sendable {
  public let task: String
  public let kind: TaskKind
  /// nil for the bare base.
  public let version: Int?
  public let subspace: String?
  /// What the scores of a prediction stand for, in their order.
  public let labels: [String]

  init(task: String, kind: TaskKind, version: Int?, subspace: String?, labels: [String]) {
    self.task = task
    self.kind = kind
    self.version = version
    self.subspace = subspace
    self.labels = labels
  }
}

/// The answers of one request in the order of its inputs.
public struct InferenceResult: Sendable {
  public let predictions: [Prediction]
  private let sources: [AnswerSource]
  /// By row; empty where the first gave all.
  private let sourceOf: [Int]
  /// Of all inputs, as they were computed.
  public let tokens: Int
  /// Inputs that were cut.
  public let truncated: Int
  /// The longest wait in the queue of any row.
  public let queueMilliseconds: Double
  public let computeMilliseconds: Double

  init(
    predictions: [Prediction], sources: [AnswerSource], sourceOf: [Int] = [], tokens: Int = 0,
    truncated: Int = 0, queueMilliseconds: Double = 0, computeMilliseconds: Double = 0
  ) {
    self.predictions = predictions
    self.sources = sources
    self.sourceOf = sourceOf
    self.tokens = tokens
    self.truncated = truncated
    self.queueMilliseconds = queueMilliseconds
    self.computeMilliseconds = computeMilliseconds
  }

  public var count: Int { predictions.count }

  /// Who gave a row's answer.
  public func source(_ row: Int) -> AnswerSource { sources[sourceOf.isEmpty ? 0 : sourceOf[row]] }
}

/// A version as it is listed.
public struct VersionSummary: Sendable {
  public let version: Int
  public let digest: String
  public let method: String
  public let rank: Int
  public let alpha: Double
  public let sites: [String]
  public let subspace: String?
  public let base: String
  public let bytes: Int
  /// JSON object of the metrics that the job measured.
  public let metricsJSON: String
  public let job: String?
  public let createdAt: String
  public let createdBy: String
}

/// A task as it is listed.
public struct TaskSummary: Sendable {
  public let name: String
  public let kind: TaskKind
  public let labels: [String]
  /// nil where no version was activated yet.
  public let activeVersion: Int?
  public let active: VersionSummary?
  public let versionCount: Int
  /// Bytes of all versions in the store.
  public let bytes: Int
  /// False where the versions belong to another base.
  public let isServed: Bool
  public let createdAt: String
  public let createdBy: String
}

/// One page of a list.
public struct Page<Element: Sendable>: Sendable {
  public let elements: [Element]
  /// Give it as `after` to go on; nil on the last page.
  public let next: String?

  public init(elements: [Element], next: String?) {
    self.elements = elements
    self.next = next
  }
}

public struct DatasetSummary: Sendable {
  public let id: String
  public let name: String
  public let kind: TaskKind
  public let rows: Int
  public let bytes: Int
  public let createdAt: String
  public let createdBy: String
}

/// Some rows of a data set, in its order.
public struct DatasetRows: Sendable {
  public let rows: [TrainingExample]
  /// Where the rows behind these begin; nil at the end.
  public let next: Int?
}

/// Where the rows of a job come from.
public enum TrainingData: Sendable {
  case examples([TrainingExample])
  case dataset(id: String)
}

/// When a job's version becomes the active one.
public enum Activation: String, Sendable, CaseIterable, Codable {
  case always
  case ifBetter = "if_better"
  case never
}

/// `POST /train`, checked field by field. Settings left out are the method's defaults.
public struct TrainingRequest: Sendable {
  public let task: String
  public let data: TrainingData
  public let settings: TrainingSettings
  /// A name, an id or a digest; nil: `default`, where the method needs one.
  public let subspace: String?
  public let activate: Activation
  /// `task@3`: start from that version.
  public let from: (task: String, version: Int)?
  public let idempotencyKey: String?
  /// Digest of the request's body, for the idempotency check.
  public let requestDigest: String

  public init(
    task: String, data: TrainingData, settings: TrainingSettings, subspace: String?,
    activate: Activation, from: (task: String, version: Int)?, idempotencyKey: String?,
    requestDigest: String
  ) {
    self.task = task
    self.data = data
    self.settings = settings
    self.subspace = subspace
    self.activate = activate
    self.from = from
    self.idempotencyKey = idempotencyKey
    self.requestDigest = requestDigest
  }
}

public enum JobState: String, Sendable, CaseIterable, Codable {
  case queued, running, paused, succeeded, failed, cancelled
  public var isFinal: Bool { self == .succeeded || self == .failed || self == .cancelled }
}

public enum JobType: String, Sendable, CaseIterable, Codable {
  case train, subspace
}

/// A job as it stands.
public struct JobSummary: Sendable {
  public let id: String
  public let type: JobType
  public let state: JobState
  public let task: String?
  public let method: String?
  /// JSON object of the settings used, defaults filled in.
  public let settingsJSON: String
  /// 0 to 1.
  public let progress: Double
  public let epoch: Int?
  public let step: Int?
  public let steps: Int?
  public let loss: Double?
  public let examplesPerSecond: Double?
  public let secondsLeft: Double?
  /// JSON object, or nil before the first validation.
  public let metricsJSON: String?
  /// The version that the job published.
  public let version: Int?
  /// The subspace that the job made.
  public let subspace: String?
  /// The data set that it learns from.
  public let dataset: String?
  /// Stable code and sentence of a failed job.
  public let error: (code: String, detail: String)?
  public let createdAt: String
  public let startedAt: String?
  public let finishedAt: String?
  public let createdBy: String
}

/// One kept event of a job: `state`, `step`, `validation`, `checkpoint` …
public struct JobEvent: Sendable {
  public let id: Int64
  public let kind: String
  public let dataJSON: String
  public let createdAt: String

  init(id: Int64, kind: String, dataJSON: String, createdAt: String = "") {
    self.id = id
    self.kind = kind
    self.dataJSON = dataJSON
    self.createdAt = createdAt
  }
}

/// A kept checkpoint of a job that has not ended.
public struct JobCheckpoint: Sendable {
  public let step: Int
  /// The training loss there.
  public let loss: Double?
  public let createdAt: String
}

/// `POST /subspaces`, checked.
public struct SubspaceRequest: Sendable {
  public let name: String
  public let source: SubspaceSource
  public let checkpoints: [String]
  public let versions: [(task: String, version: Int)]
  public let scope: SubspaceScope
  public let rank: Int
  public let center: Bool
  public let seed: UInt64
  public let makeDefault: Bool

  public init(
    name: String, source: SubspaceSource, checkpoints: [String], versions: [(task: String, version: Int)],
    scope: SubspaceScope, rank: Int, center: Bool, seed: UInt64, makeDefault: Bool
  ) {
    self.name = name
    self.source = source
    self.checkpoints = checkpoints
    self.versions = versions
    self.scope = scope
    self.rank = rank
    self.center = center
    self.seed = seed
    self.makeDefault = makeDefault
  }
}

public struct SubspaceSummary: Sendable {
  public struct Site: Sendable {
    public let name: String
    public let outputs: Int
    public let rank: Int
    public let singularValues: [Double]
    public let energyKept: Double
  }
  public let id: String
  public let name: String
  public let digest: String
  public let base: String
  public let source: SubspaceSource
  public let scope: SubspaceScope
  public let center: Bool
  public let rank: Int
  public let isDefault: Bool
  public let bytes: Int
  /// Empty in lists.
  public let sites: [Site]
  public let createdAt: String
  public let createdBy: String
}

public struct BaseSummary: Sendable {
  public let digest: String
  public let architecture: String
  public let family: ModelFamily
  public let parameters: Int
  /// Of the checkpoint.
  public let elementType: String
  /// What the resident projections are held as.
  public let weights: WeightFormat
  public let width: Int
  public let layers: Int
  public let heads: Int
  public let contextTokens: Int
  public let residentBytes: Int
  public let sites: [(name: String, inputs: Int, outputs: Int)]
}

/// Ready, or why not.
public struct Readiness: Sendable {
  public let isReady: Bool
  public let reasons: [String]
}

/// What writing holds and has done.
public struct WritingFigures: Sendable, Equatable {
  /// Texts that are written now, and that wait.
  public let running: Int
  public let waiting: Int
  /// Tasks with a text that is written, and with one that waits, without the bare base.
  public let tasksRunning: Set<String>
  public let tasksWaiting: Set<String>
  /// Requests refused because too many were open, and those whose deadline passed.
  public let refused: Int
  public let expired: Int
  /// Pages of keys and values that are held, and those of them that are kept for prompts to come.
  public let pages: Int
  public let prefixPages: Int
  /// Memory that pages have taken.
  public let residentBytes: Int
  /// Forward passes.
  public let steps: Int
  /// Prompt tokens computed, and those whose keys and values were there already.
  public let promptTokens: Int
  public let reusedTokens: Int
  public let writtenTokens: Int
  /// Texts that gave their pages to others and were computed again.
  public let preemptions: Int
}

/// Counters of the daemon since its start, read at one moment.
public struct ServingMetrics: Sendable {
  public var rowsAnswered = 0
  public var tokensComputed = 0
  public var batches = 0
  public var rowsRefused = 0
  public var rowsExpired = 0
  public var queuedRows = 0
  public var runningRows = 0
  public var residentAdapters = 0
  public var residentAdapterBytes = 0
  public var adapterLoads = 0
  public var adapterEvictions = 0
  public var residentBaseBytes = 0
  public var residentSubspaceBytes = 0
  public var jobsRunning = 0
  public var jobsQueued = 0
  public var trainingSteps = 0
  public var tasks = 0
  /// nil where the base does not write.
  public var writing: WritingFigures?
  public var requestsRunning = 0
  public var requestsWaiting = 0
  /// Tasks with a row in a batch or a text that is written, sorted, without the bare base.
  public var tasksRunning: [String] = []
  /// Tasks with rows or texts that wait, likewise.
  public var tasksWaiting: [String] = []
  /// When they were taken, in seconds since 1970.
  public var time = 0.0

  public init() {}
}
