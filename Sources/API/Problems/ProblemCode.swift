/// Every error that a client can meet: the one table of codes, statuses and titles.
enum ProblemCode: String, CaseIterable, Sendable {
  case malformedRequest = "malformed-request"
  case malformedJSON = "malformed-json"
  case unauthorized
  case notFound = "not-found"
  case taskNotFound = "task-not-found"
  case versionNotFound = "version-not-found"
  case subspaceNotFound = "subspace-not-found"
  case jobNotFound = "job-not-found"
  case datasetNotFound = "dataset-not-found"
  case methodNotAllowed = "method-not-allowed"
  case notAcceptable = "not-acceptable"
  case requestTimeout = "request-timeout"
  case versionConflict = "version-conflict"
  case subspaceMismatch = "subspace-mismatch"
  case baseMismatch = "base-mismatch"
  case jobState = "job-state"
  case idempotencyConflict = "idempotency-conflict"
  case inUse = "in-use"
  case lengthRequired = "length-required"
  case bodyTooLarge = "body-too-large"
  case uriTooLong = "uri-too-long"
  case unsupportedMediaType = "unsupported-media-type"
  case expectationFailed = "expectation-failed"
  case validationFailed = "validation-failed"
  case invalidRow = "invalid-row"
  case textTooLong = "text-too-long"
  case invalidUnicode = "invalid-unicode"
  case invalidAdapter = "invalid-adapter"
  case subspaceNotGrown = "subspace-not-grown"
  case templateFailed = "template-failed"
  case overloaded
  case fieldsTooLarge = "fields-too-large"
  case `internal`
  case notImplemented = "not-implemented"
  case notReady = "not-ready"
  case draining
  case storeUnavailable = "store-unavailable"
  case deadlineExceeded = "deadline-exceeded"
  case versionNotSupported = "version-not-supported"
  case insufficientStorage = "insufficient-storage"

  struct Entry {
    let status: Int
    /// Fixed for the code.
    let title: String
    /// Further members of the problem object.
    var members: [String] = []
  }

  var entry: Entry {
    switch self {
    case .malformedRequest: Entry(status: 400, title: "The HTTP message is malformed.", members: ["offset"])
    case .malformedJSON: Entry(status: 400, title: "The body is not JSON.", members: ["offset"])
    case .unauthorized: Entry(status: 401, title: "The request carries no known API key.")
    case .notFound: Entry(status: 404, title: "There is no such resource.")
    case .taskNotFound: Entry(status: 404, title: "There is no such task.", members: ["id"])
    case .versionNotFound: Entry(status: 404, title: "The task has no such version.", members: ["id"])
    case .subspaceNotFound: Entry(status: 404, title: "There is no such subspace.", members: ["id"])
    case .jobNotFound: Entry(status: 404, title: "There is no such job.", members: ["id"])
    case .datasetNotFound: Entry(status: 404, title: "There is no such data set.", members: ["id"])
    case .methodNotAllowed:
      Entry(status: 405, title: "The resource does not take this method.", members: ["allowed"])
    case .notAcceptable:
      Entry(status: 406, title: "The answer exists in no accepted format.", members: ["supported"])
    case .requestTimeout: Entry(status: 408, title: "The request did not arrive in time.")
    case .versionConflict:
      Entry(status: 409, title: "Another version is active than expected.", members: ["active"])
    case .subspaceMismatch:
      Entry(status: 409, title: "The subspaces differ.", members: ["expected", "actual"])
    case .baseMismatch: Entry(status: 409, title: "The bases differ.", members: ["expected", "actual"])
    case .jobState: Entry(status: 409, title: "The job's state does not allow this.", members: ["state"])
    case .idempotencyConflict:
      Entry(status: 409, title: "The idempotency key was used for another request.")
    case .inUse: Entry(status: 409, title: "The resource is in use.")
    case .lengthRequired: Entry(status: 411, title: "The request says nothing of the body that it needs.")
    case .bodyTooLarge: Entry(status: 413, title: "The body is too large.", members: ["limit_bytes"])
    case .uriTooLong: Entry(status: 414, title: "The request target is too long.", members: ["limit_bytes"])
    case .unsupportedMediaType:
      Entry(status: 415, title: "The body's format is not supported.", members: ["supported"])
    case .expectationFailed: Entry(status: 417, title: "The expectation cannot be met.")
    case .validationFailed: Entry(status: 422, title: "The request is not valid.", members: ["errors"])
    case .invalidRow: Entry(status: 422, title: "A row of the data set is not valid.", members: ["line"])
    case .textTooLong:
      Entry(status: 422, title: "A text is too long.", members: ["pointer", "tokens", "limit"])
    case .invalidUnicode: Entry(status: 422, title: "A text is not Unicode.", members: ["pointer"])
    case .invalidAdapter:
      Entry(status: 422, title: "The adapter is not valid.", members: ["tensor", "reason"])
    case .subspaceNotGrown:
      Entry(status: 422, title: "Versions on a shared subspace cannot grow a subspace.")
    case .templateFailed:
      Entry(
        status: 422, title: "The base's chat template does not take the conversation.",
        members: ["reason", "line"])
    case .overloaded:
      Entry(status: 429, title: "Too much work is waiting.", members: ["queue_depth", "limit"])
    case .fieldsTooLarge:
      Entry(
        status: 431, title: "The head has too many or too large fields.", members: ["limit", "limit_bytes"])
    case .internal: Entry(status: 500, title: "Something went wrong here.")
    case .notImplemented: Entry(status: 501, title: "The message needs something that is not implemented.")
    case .notReady: Entry(status: 503, title: "The daemon is not ready.", members: ["reasons"])
    case .draining: Entry(status: 503, title: "The daemon is stopping.")
    case .storeUnavailable: Entry(status: 503, title: "The store cannot be used.")
    case .deadlineExceeded:
      Entry(status: 504, title: "The answer did not come in time.", members: ["deadline_ms"])
    case .versionNotSupported: Entry(status: 505, title: "The HTTP version is not supported.")
    case .insufficientStorage: Entry(status: 507, title: "The store has no room left.")
    }
  }

  /// The problem's `type` (RFC 9457 §3.1.1), resolved by `docs/errors.md`.
  var type: String { "urn:corad:errors#\(rawValue)" }

  /// `docs/errors.md`, kept equal by a test.
  static var markdown: String {
    var text = """
      # Errors

      Every error answer is a problem object (RFC 9457) as `application/problem+json`:

          {"type": "urn:corad:errors#task-not-found", "title": "There is no such task.", "status": 404,
           "detail": "There is no task named \\"tickets\\".", "instance": "/requests/6f1c…",
           "code": "task-not-found", "request_id": "6f1c…", "id": "tickets"}

      `code` is stable and is the fragment of `type`; `title` is fixed for it; `detail` speaks of this request. A code may
      carry members of its own. After a stream has begun, the same object is sent as an event named `error`. Under `/v1` an
      error is OpenAI's object, with the same code and members ([OpenAI's API](openai.md)).

      | status | code | title | members |
      |---|---|---|---|

      """
    for code in allCases {
      let members = code.entry.members.map { "`\($0)`" }.joined(separator: ", ")
      text += "| \(code.entry.status) | `\(code.rawValue)` | \(code.entry.title) | \(members) |\n"
    }
    text += """

      The `error` of a job that failed has one of these codes, or one of its own: `crashed` where the daemon ended again and
      again while the job ran and got no further, `diverged` where the loss or the gradient was not finite.

      """
    return text
  }
}
