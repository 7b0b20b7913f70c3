internal import Adapters
internal import Models
internal import Store
internal import Training

extension ServingError {
  init(_ error: StoreError) {
    switch error {
    case .notFound(let kind, let id):
      let resource: Resource =
        switch kind {
        case .task: .task
        case .version: .version
        case .subspace: .subspace
        case .dataset: .dataset
        case .job: .job
        }
      self = .notFound(resource, id: id)
    case .versionConflict(let active): self = .versionConflict(active: active)
    case .jobState(let state): self = .jobState(state: state)
    case .idempotencyConflict: self = .idempotencyConflict
    case .queueFull(let queue, let limit):
      let seconds = min(3_600, max(1, (queue.secondsUntilNext ?? 1).rounded(.up)))
      self = .overloaded(depth: queue.queued, limit: limit, retryAfterSeconds: Int(seconds))
    case .inUse(let user): self = .inUse(user)
    case .nameTaken(let name):
      self = .validation([FieldError("/name", "\(name) is taken", allowed: "another name")])
    case .kindMismatch(_, let kind):
      self = .validation([FieldError("/kind", "the task is of another kind", allowed: kind)])
    case .full: self = .insufficientStorage
    case .locked, .foreignFile, .newerSchema, .corrupt, .readOnly, .io:
      self = .storeUnavailable(cause: "\(error)")
    }
  }

  init(_ error: AdapterError) {
    switch error {
    case .tensor(let name, let reason): self = .invalidAdapter(tensor: name, reason: reason)
    case .malformed(let reason): self = .invalidAdapter(tensor: "", reason: reason)
    case .metadata(let key, let reason): self = .invalidAdapter(tensor: key, reason: reason)
    case .baseMismatch(let expected, let actual):
      self = .baseMismatch(expected: "\(expected)", actual: "\(actual)")
    case .subspaceMismatch(let expected, let actual):
      self = .subspaceMismatch(
        expected: expected.map { "\($0)" } ?? "none", actual: actual.map { "\($0)" } ?? "none")
    }
  }

  init(_ error: TrainingError) {
    func field(_ pointer: String, _ detail: String, _ allowed: String? = nil) -> ServingError {
      .validation([FieldError(pointer, detail, allowed: allowed)])
    }
    switch error {
    case .setting(let name, let reason): self = field("/\(name)", reason)
    case .unknownMethod(let name):
      self = field(
        "/method", "\(name) is not known", TrainingMethods.all.map { $0.name }.joined(separator: ", "))
    case .needsSubspace(let method): self = field("/subspace", "\(method) needs a subspace")
    case .rankAboveSubspace(_, let columns):
      self = field("/rank", "is above the subspace's columns", "1 through \(columns)")
    case .baseMismatch: self = .baseMismatch(expected: "the resident base", actual: "another")
    case .tooFewRows(let needed, let given):
      self = field("/data", "has \(given) rows", "at least \(needed) rows")
    case .tooFewLabels(let needed, let given):
      self = field("/data", "has the labels \(given)", "at least \(needed) labels")
    case .labelMismatch(let missing, let extra):
      self = field("/data", "its labels are not the task's: missing \(missing), extra \(extra)")
    case .rowKind(let row, let expected):
      self = .invalidRow(line: row + 1, detail: "the row is not of kind \(expected.rawValue)")
    case .row(let row, let reason): self = .invalidRow(line: row + 1, detail: "the row \(reason)")
    case .constantValues: self = field("/data", "all values are equal")
    case .incompatibleStart(let reason): self = field("/from", reason)
    case .diverged(let step, let what): self = .internal(cause: "step \(step): \(what)")
    case .checkpoint(let reason): self = .internal(cause: "checkpoint: \(reason)")
    case .adapter(let error): self = .init(error)
    }
  }

  init(_ error: SubspaceError) {
    switch error {
    case .notGrown: self = .subspaceNotGrown
    case .tooFewSources(let needed, let given):
      self = .validation([FieldError("/checkpoints", "\(given) sources", allowed: "at least \(needed)")])
    case .baseMismatch(let expected, let actual):
      self = .baseMismatch(expected: "\(expected)", actual: "\(actual)")
    case .rank(let rank): self = .validation([FieldError("/rank", "is \(rank)", allowed: "at least 1")])
    case .cancelled: self = .cancelled
    case .architecture(let reason): self = .validation([FieldError("/checkpoints", reason)])
    case .widthsDiffer(let layer):
      self = .validation([FieldError("/scope", "query, key and value of layer \(layer) differ in width")])
    case .empty(let site): self = .validation([FieldError("/source", "every source is zero at \(site)")])
    case .checkpoint(let error): self = .validation([FieldError("/checkpoints", "\(error)")])
    case .notFinite(let site): self = .validation([FieldError("/source", "\(site) is not finite")])
    }
  }
}

/// Runs store calls and translates what they throw.
func stored<T>(_ body: () async throws(StoreError) -> T) async throws(ServingError) -> T {
  do throws(StoreError) { return try await body() } catch { throw ServingError(error) }
}
