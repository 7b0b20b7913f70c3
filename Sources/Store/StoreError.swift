/// Why the store refused or failed. Nothing was changed unless the case says so.
public enum StoreError: Error, Equatable, Sendable {
  /// What was looked up.
  public enum Kind: String, Sendable {
    case task, version, subspace, dataset, job
  }

  case notFound(Kind, id: String)
  /// The active version is not the expected one.
  case versionConflict(active: Int?)
  /// The job is in a state that the operation does not start from.
  case jobState(String)
  /// The idempotency key was used for another request.
  case idempotencyConflict
  /// As many jobs are queued as may.
  case queueFull(JobQueueFigures, limit: Int)
  /// Something that is in use cannot be deleted; the text names the user.
  case inUse(String)
  /// The name is taken by something else.
  case nameTaken(String)
  /// The task has another kind.
  case kindMismatch(task: String, kind: String)
  /// Another process has the store open.
  case locked(path: String)
  /// The file is not a store of ours.
  case foreignFile(path: String)
  /// The file was written by a newer version.
  case newerSchema(path: String)
  case corrupt(String)
  /// The disk is full.
  case full
  case readOnly
  /// SQLite's extended result code, or errno.
  case io(code: Int32, detail: String)

  /// Whether the file is at fault, and no request.
  var isOfFile: Bool {
    switch self {
    case .corrupt, .full, .readOnly, .io: true
    case .notFound, .versionConflict, .jobState, .idempotencyConflict, .queueFull, .inUse, .nameTaken,
      .kindMismatch, .locked, .foreignFile, .newerSchema:
      false
    }
  }
}
