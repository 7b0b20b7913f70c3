/// One refused field of a request.
public struct FieldError: Sendable, Equatable {
  /// JSON pointer into the request's body (RFC 6901), or the name of a query parameter.
  public let pointer: String
  /// What is wrong, in a sentence.
  public let detail: String
  /// What would be accepted.
  public let allowed: String?

  public init(_ pointer: String, _ detail: String, allowed: String? = nil) {
    self.pointer = pointer
    self.detail = detail
    self.allowed = allowed
  }
}

/// What can go wrong in a use case. API alone turns it into a status.
public enum ServingError: Error, Sendable {
  /// What was looked up.
  public enum Resource: String, Sendable {
    case task, version, subspace, job, dataset
  }

  case notFound(Resource, id: String)
  /// The pointer was not at the expected version.
  case versionConflict(active: Int?)
  case subspaceMismatch(expected: String, actual: String)
  case baseMismatch(expected: String, actual: String)
  case jobState(state: String)
  case idempotencyConflict
  /// A data set that a job needs, the active version of a task.
  case inUse(String)
  case validation([FieldError])
  /// A row of a data set; the line is counted from one.
  case invalidRow(line: Int, detail: String)
  case textTooLong(pointer: String, tokens: Int, limit: Int)
  case invalidUnicode(pointer: String)
  /// The base's chat template made no prompt of a conversation; its lines count from one.
  case templateFailed(reason: String, line: Int)
  case invalidAdapter(tensor: String, reason: String)
  case subspaceNotGrown
  case overloaded(depth: Int, limit: Int, retryAfterSeconds: Int)
  case deadlineExceeded(milliseconds: Int)
  /// Something that this base or this build cannot do, in a sentence.
  case notImplemented(String)
  case notReady([String])
  case draining
  case storeUnavailable(cause: String)
  case insufficientStorage
  case cancelled
  /// A fault of ours; the cause goes to the log alone.
  case `internal`(cause: String)
}
