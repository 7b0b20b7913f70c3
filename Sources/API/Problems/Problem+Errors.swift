internal import HTTPWire
internal import Serving

extension Problem {
  init(_ error: ServingError) {
    switch error {
    case .notFound(let resource, let id):
      let (code, noun) = Self.missing(resource)
      self.init(code, "There is no \(noun) \"\(Self.shortened(id))\".", [("id", .text(Self.shortened(id)))])
    case .versionConflict(let active):
      self.init(
        .versionConflict, active.map { "Version \($0) is active." } ?? "No version is active.",
        [("active", .number(active))])
    case .subspaceMismatch(let expected, let actual):
      self.init(.subspaceMismatch, nil, [("expected", .text(expected)), ("actual", .text(actual))])
    case .baseMismatch(let expected, let actual):
      self.init(.baseMismatch, nil, [("expected", .text(expected)), ("actual", .text(actual))])
    case .jobState(let state): self.init(.jobState, "The job is \(state).", [("state", .text(state))])
    case .idempotencyConflict: self.init(ProblemCode.idempotencyConflict)
    case .inUse(let by): self.init(.inUse, by)
    case .validation(let errors):
      let first = errors.first.map { "\($0.pointer.isEmpty ? "The body" : $0.pointer) \($0.detail)." }
      self.init(.validationFailed, first, [("errors", .errors(errors))])
    case .invalidRow(let line, let detail):
      self.init(.invalidRow, "Line \(line): \(detail).", [("line", .number(line))])
    case .textTooLong(let pointer, let tokens, let limit):
      self.init(
        .textTooLong, "\(pointer) has \(tokens) tokens; the limit is \(limit).",
        [("pointer", .text(pointer)), ("tokens", .number(tokens)), ("limit", .number(limit))])
    case .invalidUnicode(let pointer):
      self.init(
        .invalidUnicode, "\(pointer) holds half of a surrogate pair.", [("pointer", .text(pointer))])
    case .invalidAdapter(let tensor, let reason):
      self.init(.invalidAdapter, nil, [("tensor", .text(tensor)), ("reason", .text(reason))])
    case .templateFailed(let reason, let line):
      self.init(
        .templateFailed, "Line \(line) of the base's chat template: \(reason).",
        [("reason", .text(reason)), ("line", .number(line))])
    case .subspaceNotGrown: self.init(ProblemCode.subspaceNotGrown)
    case .overloaded(let depth, let limit, let retryAfterSeconds):
      self.init(
        .overloaded, "\(depth) are waiting; the limit is \(limit).",
        [("queue_depth", .number(depth)), ("limit", .number(limit))],
        fields: [("Retry-After", String(max(1, retryAfterSeconds)))])
    case .deadlineExceeded(let milliseconds):
      self.init(
        .deadlineExceeded, "The request took longer than \(milliseconds) ms.",
        [("deadline_ms", .number(milliseconds))])
    case .notReady(let reasons):
      self.init(.notReady, reasons.joined(separator: "; "), [("reasons", .texts(reasons))])
    case .notImplemented(let what): self.init(.notImplemented, what)
    case .draining: self.init(ProblemCode.draining)
    case .storeUnavailable(let cause): self.init(.storeUnavailable, cause: cause)
    case .insufficientStorage: self.init(ProblemCode.insufficientStorage)
    case .cancelled: self.init(.draining, "The work was cancelled.")
    case .internal(let cause): self.init(.internal, cause: cause)
    }
  }

  init(_ error: WireError) {
    switch error {
    case .malformed(let reason, let offset):
      self.init(.malformedRequest, "Byte \(offset): \(reason.rawValue).", [("offset", .number(offset))])
    case .headTimeout: self.init(.requestTimeout, "The head did not arrive in time.")
    case .bodyTimeout: self.init(.requestTimeout, "The body did not arrive in time.")
    case .bodyTooLarge(let limit):
      self.init(.bodyTooLarge, "The limit is \(limit) bytes.", [("limit_bytes", .number(limit))])
    case .targetTooLong(let limit):
      self.init(.uriTooLong, "The limit is \(limit) bytes.", [("limit_bytes", .number(limit))])
    case .expectationFailed: self.init(.expectationFailed, "Only 100-continue is known.")
    case .headTooLarge(let limit):
      self.init(.fieldsTooLarge, "The limit is \(limit) bytes.", [("limit_bytes", .number(limit))])
    case .tooManyFields(let limit):
      self.init(.fieldsTooLarge, "The limit is \(limit) fields.", [("limit", .number(limit))])
    case .notImplemented(let reason, _): self.init(.notImplemented, "The message has an \(reason.rawValue).")
    case .tooManyConnections(let limit):
      let reason = "\(limit) connections are open, which is the limit"
      self.init(.notReady, reason + ".", [("reasons", .texts([reason]))], fields: [("Retry-After", "1")])
    case .unsupportedVersion: self.init(.versionNotSupported, "HTTP/1.0 and HTTP/1.1 are.")
    case .peerGone: self.init(.malformedRequest, "The client went away.")
    }
  }

  init(_ error: JSONError) {
    switch error {
    case .malformed(let fault, let offset):
      self.init(.malformedJSON, "Byte \(offset): \(fault.rawValue).", [("offset", .number(offset))])
    case .loneSurrogate(let pointer, _): self.init(.invalidUnicode(pointer: pointer))
    }
  }

  private static func missing(_ resource: ServingError.Resource) -> (ProblemCode, String) {
    switch resource {
    case .task: (.taskNotFound, "task named")
    case .version: (.versionNotFound, "version")
    case .subspace: (.subspaceNotFound, "subspace")
    case .job: (.jobNotFound, "job")
    case .dataset: (.datasetNotFound, "data set")
    }
  }

  /// A name of the caller's, cut so that an answer stays small.
  private static func shortened(_ id: String) -> String {
    id.unicodeScalars.count <= 128
      ? id : String(String.UnicodeScalarView(id.unicodeScalars.prefix(128))) + "…"
  }
}
