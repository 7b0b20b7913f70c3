internal import GRDB

/// Where a job stands.
public enum JobState: String, Sendable, CaseIterable {
  case queued, running, paused, succeeded, failed, cancelled

  /// No transition leads out of it.
  public var isTerminal: Bool { self == .succeeded || self == .failed || self == .cancelled }

  /// The edges of the state machine. Running falls back to queued when the daemon stops.
  public func mayBecome(_ next: JobState) -> Bool {
    switch (self, next) {
    case (.queued, .running), (.queued, .paused), (.queued, .cancelled), (.queued, .failed): true
    case (.running, .succeeded), (.running, .failed), (.running, .cancelled), (.running, .paused),
      (.running, .queued):
      true
    case (.paused, .queued), (.paused, .running), (.paused, .cancelled), (.paused, .failed): true
    default: false
    }
  }
}

/// What a job makes.
public enum JobType: String, Sendable, CaseIterable {
  case train, subspace
}

/// A job as it is accepted.
public struct NewJob: Sendable, Equatable {
  public var type: JobType
  /// The task it trains; nil for a subspace job.
  public var task: String?
  /// Digest of the base.
  public var base: String
  public var method: String?
  /// A committed data set that it reads.
  public var datasetID: String?
  /// Instead: an upload that is committed with the job and owned by it.
  public var inlineUpload: String?
  /// The summary of that upload, as JSON.
  public var inlineSummaryJSON: String
  /// Every setting with its value, defaults included, as JSON.
  public var settingsJSON: String
  /// The client's key and a digest of what it asked; both or neither.
  public var idempotency: Idempotency?
  public var createdBy: String

  public struct Idempotency: Sendable, Equatable {
    public var key: String
    public var requestHash: String
    public init(key: String, requestHash: String) {
      self.key = key
      self.requestHash = requestHash
    }
  }

  public init(
    type: JobType, task: String? = nil, base: String, method: String? = nil, datasetID: String? = nil,
    inlineUpload: String? = nil, inlineSummaryJSON: String = "{}", settingsJSON: String = "{}",
    idempotency: Idempotency? = nil, createdBy: String
  ) {
    self.type = type
    self.task = task
    self.base = base
    self.method = method
    self.datasetID = datasetID
    self.inlineUpload = inlineUpload
    self.inlineSummaryJSON = inlineSummaryJSON
    self.settingsJSON = settingsJSON
    self.idempotency = idempotency
    self.createdBy = createdBy
  }
}

/// How far a job is. A figure that is not a finite number is kept as nil.
public struct JobProgress: Sendable, Equatable {
  /// 0...1
  public var fraction: Double
  public var epoch: Int
  public var step: Int
  public var steps: Int
  public var loss: Double?
  public var examplesPerSecond: Double?
  public var secondsLeft: Double?

  public init(
    fraction: Double = 0, epoch: Int = 0, step: Int = 0, steps: Int = 0, loss: Double? = nil,
    examplesPerSecond: Double? = nil, secondsLeft: Double? = nil
  ) {
    self.fraction = fraction
    self.epoch = epoch
    self.step = step
    self.steps = steps
    self.loss = loss
    self.examplesPerSecond = examplesPerSecond
    self.secondsLeft = secondsLeft
  }
}

/// What a job gave, written with its last transition.
struct JobResult: Sendable {
  var version: Int?
  var subspace: String?
  var metricsJSON: String?
}

/// A stored job.
public struct JobRecord: Sendable, Equatable {
  public let id: String
  public let type: JobType
  public let state: JobState
  public let task: String?
  public let base: String
  public let method: String?
  public let datasetID: String?
  public let settingsJSON: String
  public let progress: JobProgress
  public let metricsJSON: String?
  /// The version it published.
  public let resultVersion: Int?
  /// The id of the subspace it made.
  public let resultSubspace: String?
  public let errorJSON: String?
  /// The id of its newest event, 0 when there is none.
  public let lastEventID: Int
  /// How often it was put back in the queue by a restart.
  public let resumptions: Int
  public let createdBy: String
  /// Milliseconds since 1970 UTC.
  public let createdAt: Int64
  public let updatedAt: Int64
  public let startedAt: Int64?
  public let finishedAt: Int64?

  init(_ row: Row) throws {
    guard let type = JobType(rawValue: row["type"]), let state = JobState(rawValue: row["state"]) else {
      throw StoreError.corrupt
    }
    id = row["id"]
    self.type = type
    self.state = state
    task = row["task"]
    base = row["base"]
    method = row["method"]
    datasetID = row["dataset"]
    settingsJSON = row["settings"]
    progress = JobProgress(
      fraction: row["fraction"], epoch: row["epoch"], step: row["step"], steps: row["steps"],
      loss: row["loss"], examplesPerSecond: row["examples_per_second"], secondsLeft: row["seconds_left"])
    metricsJSON = row["metrics"]
    resultVersion = row["result_version"]
    resultSubspace = row["result_subspace"]
    errorJSON = row["error"]
    lastEventID = row["last_event"]
    resumptions = row["resumptions"]
    createdBy = row["created_by"]
    createdAt = row["created_at"]
    updatedAt = row["updated_at"]
    startedAt = row["started_at"]
    finishedAt = row["finished_at"]
  }
}
