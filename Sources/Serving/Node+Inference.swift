public import Adapters
internal import Digests
internal import Engine
internal import Models
internal import Store
internal import Tokenizers

extension Node {
  /// Texts above this many bytes together are tokenised on a lane, so that no event loop stalls.
  static let inlineTextBytes = 64 << 10
  /// The reserved name of the bare base.
  static let baseTask = "base"

  public func infer(
    task: String, of kind: TaskKind?, taskPointer: String, inputs: InferenceInputs, options: InferenceOptions,
    timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    let time = try admit(rows: inputs.count, timeoutMilliseconds)
    if task == Self.baseTask { try requireEmbeddings(pointer: taskPointer) }
    let lease = try await lease(LeaseKey(task: task, version: options.version))
    try requireAnswers(lease, of: kind, pointer: taskPointer)
    let rows = try await tokenise(inputs) { _ in options }
    let part = lease.part(rows.encodings, 0..<inputs.count, normalize: options.normalize)
    let outcome = try await scheduler.run(
      [part], principal: principal.name, deadline: time.deadline, limitMilliseconds: time.limitMilliseconds)
    return InferenceResult(outcome, outcome.predictions, sources: [lease.source], rows)
  }

  public func infer(
    items: [InferenceItem], inputs: InferenceInputs, timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    let time = try admit(rows: items.count, timeoutMilliseconds)
    if let index = items.firstIndex(where: { $0.task == Self.baseTask }) {
      try requireEmbeddings(pointer: "/items/\(index)/task")
    }
    let (leases, leaseOf) = try await leases(for: items)
    for (index, lease) in leaseOf.enumerated() {
      try requireAnswers(leases[lease], of: nil, pointer: "/items/\(index)/task")
    }
    var rows = try await tokenise(inputs) { items[$0].options }
    // Rows of one version and one wish become neighbours: by subspace, then task, then arrival.
    let sorted = leases.indices.sorted {
      (leases[$0].subspaceDigest ?? "", leases[$0].task, $0)
        < (leases[$1].subspaceDigest ?? "", leases[$1].task, $1)
    }
    var rank = Array(repeating: 0, count: leases.count)
    for (place, lease) in sorted.enumerated() { rank[lease] = place }
    let group = items.indices.map { 2 * rank[leaseOf[$0]] + (items[$0].options.normalize ? 1 : 0) }
    let order = items.indices.sorted { (group[$0], $0) < (group[$1], $1) }
    rows.encodings = order.map { rows.encodings[$0] }
    var parts: [InferencePart] = []
    for (place, item) in order.enumerated() {
      if place > 0, group[item] == group[order[place - 1]] {
        parts[parts.count - 1].range = parts[parts.count - 1].range.lowerBound..<place + 1
      } else {
        parts.append(
          leases[leaseOf[item]].part(
            rows.encodings, place..<place + 1, normalize: items[item].options.normalize))
      }
    }
    let outcome = try await scheduler.run(
      parts, principal: principal.name, deadline: time.deadline, limitMilliseconds: time.limitMilliseconds)
    var predictions = outcome.predictions
    for (place, item) in order.enumerated() { predictions[item] = outcome.predictions[place] }
    return InferenceResult(outcome, predictions, sources: leases.map(\.source), sourceOf: leaseOf, rows)
  }

  /// The bare base answers with embeddings where it is an encoder.
  private func requireEmbeddings(pointer: String) throws(ServingError) {
    guard model.family == .decoder else { return }
    throw .validation([
      FieldError(
        pointer, "is the bare base, a decoder, which has no embeddings of its own",
        allowed: "tasks of kind embedding")
    ])
  }

  /// - Parameter kind: the one that is wanted; nil: any that answers.
  private func requireAnswers(_ lease: Lease, of kind: TaskKind?, pointer: String) throws(ServingError) {
    if let kind, lease.kind != kind {
      let tasks = "tasks of kind \(kind.rawValue)"
      let isBaseToo = kind == .embedding && model.family != .decoder
      throw .validation([
        FieldError(
          pointer, "is of kind \(lease.kind.rawValue)", allowed: isBaseToo ? "base and " + tasks : tasks)
      ])
    }
    guard lease.kind.writes else { return }
    throw .validation([
      FieldError(
        pointer, "is of kind \(lease.kind.rawValue), which does not answer here",
        allowed: "tasks of other kinds")
    ])
  }

  /// Decided before anything is leased or tokenised: whether the rows find room, and their deadline.
  private func admit(
    rows: Int, _ timeoutMilliseconds: Int?
  ) throws(ServingError) -> (deadline: Int64, limitMilliseconds: Int) {
    try scheduler.admit(rows: rows)
    let limit = min(timeoutMilliseconds ?? .max, configuration.requestTimeoutMilliseconds)
    return (Clock.nanoseconds() + Int64(limit) * 1_000_000, limit)
  }

  /// The leases that the items need, each once, and each item's place among them.
  private func leases(for items: [InferenceItem]) async throws(ServingError) -> ([Lease], [Int]) {
    var leases: [Lease] = []
    var leaseOf: [Int] = []
    leaseOf.reserveCapacity(items.count)
    var places: [LeaseKey: Int] = [:]
    for item in items {
      let key = LeaseKey(task: item.task, version: item.options.version)
      if places[key] == nil {
        places[key] = leases.count
        leases.append(try await lease(key))
      }
      leaseOf.append(places[key] ?? 0)
    }
    return (leases, leaseOf)
  }

  private struct LeaseKey: Hashable {
    let task: String
    let version: Int?
  }

  /// The look-up that a request makes, alone: the version that it would lease.
  package func leasedVersion(of task: String) async throws(ServingError) -> Int? {
    try await lease(LeaseKey(task: task, version: nil)).version
  }

  /// What a row keeps until it is answered, whatever is published meanwhile.
  struct Lease: Sendable {
    let task: String
    let adapter: ResidentAdapter?
    let subspace: ResidentSubspace?
    let version: Int?
    /// Of the version's bytes; empty for the bare base.
    let digest: String
    let subspaceDigest: String?

    func part(_ encodings: [Encoding], _ range: Range<Int>, normalize: Bool) -> InferencePart {
      InferencePart(
        task: task, adapter: adapter, subspace: subspace, subspaceDigest: subspaceDigest ?? "",
        normalize: normalize, encodings: encodings, range: range)
    }

    /// What its answers are; of the bare base an encoder's.
    var kind: TaskKind { adapter?.kind ?? .embedding }

    var source: AnswerSource {
      AnswerSource(
        task: task, kind: kind, version: version, subspace: subspaceDigest,
        labels: adapter?.head.head.labels ?? [])
    }
  }

  private func lease(_ key: LeaseKey) async throws(ServingError) -> Lease {
    if key.task == Self.baseTask {
      if let version = key.version { throw .notFound(.version, id: "base@\(version)") }
      return Lease(task: key.task, adapter: nil, subspace: nil, version: nil, digest: "", subspaceDigest: nil)
    }
    if let version = key.version {
      if let task = catalog.lookup(key.task), task.version == version { return try await lease(task) }
      return try await lease(try await inactive(key.task, version))
    }
    guard var task = catalog.lookup(key.task) else { throw await unserved(key.task) }
    while true {
      do throws(ServingError) {
        return try await lease(task)
      } catch {
        // Replaced and deleted between the look-up and the load: the version that is active now answers.
        guard case .notFound = error, let now = catalog.lookup(key.task), now.version != task.version else {
          throw error
        }
        task = now
      }
    }
  }

  /// The adapter of a version, resident or loaded now.
  func lease(_ task: ActiveTask) async throws(ServingError) -> Lease {
    var subspace: ResidentSubspace?
    if let digest = task.subspace {
      subspace = try await stored { () throws(StoreError) in try await subspaces.resident(digest) }
    }
    let adapter: ResidentAdapter
    if let resident = cache.lease(task.digest) {
      adapter = resident
    } else {
      let bytes = try await stored { () throws(StoreError) in
        try await store.versionBytes(task.version, of: task.name)
      }
      guard "\(Digest.sha256(of: bytes))" == task.digest else {
        throw .internal(cause: "\(task.name)@\(task.version) has other bytes than its digest says")
      }
      do throws(AdapterError) {
        adapter = cache.insert(
          try ResidentAdapter(try AdapterVersion(encoded: bytes), sites: model.sites), digest: task.digest)
      } catch {
        throw ServingError(error)
      }
    }
    stages.leased(task.name, task.version)
    return Lease(
      task: task.name, adapter: adapter, subspace: subspace, version: task.version, digest: task.digest,
      subspaceDigest: task.subspace)
  }

  /// A version that is not the active one.
  private func inactive(_ name: String, _ version: Int) async throws(ServingError) -> ActiveTask {
    let kind = try await stored { () throws(StoreError) in try await store.task(name) }.kind
    let record = try await stored { () throws(StoreError) in try await store.version(version, of: name) }
    guard record.base == "\(model.digest)" else {
      throw .baseMismatch(expected: "\(model.digest)", actual: record.base)
    }
    guard let task = ActiveTask(record, kind: kind) else {
      throw .internal(cause: "\(name) is of the unknown kind \(kind)")
    }
    return task
  }

  /// Who answers for a task, or for a version of it.
  func lease(_ task: String, version: Int?) async throws(ServingError) -> Lease {
    try await lease(LeaseKey(task: task, version: version))
  }

  /// Why a name is not in the catalog: no such task, no active version, or another base's.
  private func unserved(_ name: String) async -> ServingError {
    do throws(StoreError) {
      let record = try await store.task(name)
      guard let active = record.active else { return .notFound(.version, id: name) }
      return .baseMismatch(expected: "\(model.digest)", actual: active.base)
    } catch {
      return ServingError(error)
    }
  }

  fileprivate struct TokenisedRows: Sendable {
    var encodings: [Encoding]
    var tokens = 0
    var truncated = 0
  }

  private func tokenise(
    _ inputs: InferenceInputs, _ options: (Int) -> InferenceOptions
  ) async throws(ServingError) -> TokenisedRows {
    let encode = stages.encode
    let limit = checkpoint.textLimit
    var rows = TokenisedRows(
      encodings: inputs.textBytes <= Self.inlineTextBytes
        ? encode(inputs, limit) : await lanes.run(.inference) { _ in encode(inputs, limit) })
    // In place: an element on its own would be retained.
    for index in rows.encodings.indices {
      guard !rows.encodings[index].ids.isEmpty else {
        throw .validation([FieldError(inputs.pointer(index), "has no tokens", allowed: "another text")])
      }
      rows.tokens += rows.encodings[index].ids.count
      guard rows.encodings[index].isTruncated else { continue }
      rows.truncated += 1
      if options(index).truncate == .error {
        throw .textTooLong(
          pointer: inputs.pointer(index), tokens: rows.encodings[index].untruncatedCount, limit: limit)
      }
    }
    return rows
  }
}

extension InferenceResult {
  fileprivate init(
    _ outcome: InferenceScheduler.Outcome, _ predictions: [Prediction], sources: [AnswerSource],
    sourceOf: [Int] = [], _ rows: Node.TokenisedRows
  ) {
    self.init(
      predictions: predictions, sources: sources, sourceOf: sourceOf, tokens: rows.tokens,
      truncated: rows.truncated, queueMilliseconds: Double(outcome.queueNanoseconds) / 1e6,
      computeMilliseconds: Double(outcome.computeNanoseconds) / 1e6)
  }
}
