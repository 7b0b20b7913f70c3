internal import Adapters
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
    task: String, inputs: [InferenceInput], options: InferenceOptions, timeoutMilliseconds: Int?,
    principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    let time = try admit(rows: inputs.count, timeoutMilliseconds)
    let lease = try await lease(LeaseKey(task: task, version: options.version))
    let part = InferenceScheduler.Part(
      task: task, subspace: lease.subspaceDigest ?? "", places: Array(inputs.indices))
    let work = Work(inputs: inputs, leases: [lease], options: options)
    return try await answer(work, parts: [part], principal: principal, time: time)
  }

  public func infer(
    items: [InferenceItem], timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    let time = try admit(rows: items.count, timeoutMilliseconds)
    let (leases, leaseOf) = try await leases(for: items)
    var parts = leases.map { InferenceScheduler.Part(task: $0.task, subspace: $0.subspaceDigest ?? "") }
    for (index, lease) in leaseOf.enumerated() { parts[lease].places.append(index) }
    let work = Work(
      inputs: items.map(\.input), leases: leases, options: InferenceOptions(), items: items, leaseOf: leaseOf)
    return try await answer(work, parts: parts, principal: principal, time: time)
  }

  /// The rows of a request: with one task and one set of options, or item by item.
  private struct Work: Sendable {
    let inputs: [InferenceInput]
    let leases: [Lease]
    let options: InferenceOptions
    var items: [InferenceItem] = []
    var leaseOf: [Int] = []

    func lease(_ index: Int) -> Int { leaseOf.isEmpty ? 0 : leaseOf[index] }
    func options(_ index: Int) -> InferenceOptions { items.isEmpty ? options : items[index].options }
  }

  /// Decided before anything is leased or tokenised: whether the rows find room, and their deadline.
  private func admit(
    rows: Int, _ timeoutMilliseconds: Int?
  ) throws(ServingError) -> (deadline: Int64, limitMilliseconds: Int) {
    try scheduler.admit(rows: rows)
    let limit = min(timeoutMilliseconds ?? .max, configuration.requestTimeoutMilliseconds)
    return (Clock.nanoseconds() + Int64(limit) * 1_000_000, limit)
  }

  private func answer(
    _ work: Work, parts: [InferenceScheduler.Part], principal: Principal,
    time: (deadline: Int64, limitMilliseconds: Int)
  ) async throws(ServingError) -> InferenceResult {
    let rows = try await tokenise(work)
    let outcome = try await scheduler.run(
      rows.batch, parts: parts, principal: principal.name, deadline: time.deadline,
      limitMilliseconds: time.limitMilliseconds)
    let sources = work.leases.map { lease in
      AnswerSource(
        task: lease.task, kind: lease.adapter?.kind ?? .embedding, version: lease.version,
        subspace: lease.subspaceDigest, labels: lease.adapter?.head.head.labels ?? [])
    }
    let answers = work.inputs.indices.map { index in
      InferenceAnswer(
        source: sources[work.lease(index)], prediction: outcome.predictions[index],
        tokens: rows.batch[index].ids.count, truncated: rows.truncated[index])
    }
    return InferenceResult(
      answers: answers, queueMilliseconds: Double(outcome.queueNanoseconds) / 1e6,
      computeMilliseconds: Double(outcome.computeNanoseconds) / 1e6)
  }

  /// The leases that the items need, each once, and each item's place among them.
  private func leases(for items: [InferenceItem]) async throws(ServingError) -> ([Lease], [Int]) {
    var leases: [Lease] = []
    var leaseOf: [Int] = []
    leaseOf.reserveCapacity(items.count)
    var places: [LeaseKey: Int] = [:]
    var last: LeaseKey?
    for item in items {
      let key = LeaseKey(task: item.task, version: item.options.version)
      // Neighbours mostly ask for the same.
      if key == last, let place = leaseOf.last {
        leaseOf.append(place)
        continue
      }
      last = key
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
    let subspaceDigest: String?
  }

  private func lease(_ key: LeaseKey) async throws(ServingError) -> Lease {
    if key.task == Self.baseTask {
      if let version = key.version { throw .notFound(.version, id: "base@\(version)") }
      return Lease(task: key.task, adapter: nil, subspace: nil, version: nil, subspaceDigest: nil)
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
          try ResidentAdapter(try AdapterVersion(encoded: bytes), sites: encoder.sites), digest: task.digest)
      } catch {
        throw ServingError(error)
      }
    }
    stages.leased(task.name, task.version)
    return Lease(
      task: task.name, adapter: adapter, subspace: subspace, version: task.version,
      subspaceDigest: task.subspace)
  }

  /// A version that is not the active one.
  private func inactive(_ name: String, _ version: Int) async throws(ServingError) -> ActiveTask {
    let kind = try await stored { () throws(StoreError) in try await store.task(name) }.kind
    let record = try await stored { () throws(StoreError) in try await store.version(version, of: name) }
    guard record.base == "\(encoder.digest)" else {
      throw .baseMismatch(expected: "\(encoder.digest)", actual: record.base)
    }
    guard let task = ActiveTask(record, kind: kind) else {
      throw .internal(cause: "\(name) is of the unknown kind \(kind)")
    }
    return task
  }

  /// Why a name is not in the catalog: no such task, no active version, or another base's.
  private func unserved(_ name: String) async -> ServingError {
    do throws(StoreError) {
      let record = try await store.task(name)
      guard let active = record.active else { return .notFound(.version, id: name) }
      return .baseMismatch(expected: "\(encoder.digest)", actual: active.base)
    } catch {
      return ServingError(error)
    }
  }

  private struct TokenisedRows: Sendable {
    var batch: [BatchRow] = []
    var truncated: [Bool] = []
  }

  private func tokenise(_ work: Work) async throws(ServingError) -> TokenisedRows {
    let bytes = work.inputs.reduce(0) { $0 + $1.text.utf8.count + ($1.pair?.utf8.count ?? 0) }
    let encode = stages.encode
    let limit = checkpoint.textLimit
    if bytes <= Self.inlineTextBytes { return try Self.tokenise(work, encode, limit).get() }
    return try await lanes.run(.inference) { _ in Self.tokenise(work, encode, limit) }.get()
  }

  private static func tokenise(
    _ work: Work, _ encode: (InferenceInput, Int) -> Encoding, _ limit: Int
  ) -> Result<TokenisedRows, ServingError> {
    var rows = TokenisedRows()
    rows.batch.reserveCapacity(work.inputs.count)
    rows.truncated.reserveCapacity(work.inputs.count)
    for (index, input) in work.inputs.enumerated() {
      let encoding = encode(input, limit)
      let options = work.options(index)
      if encoding.isTruncated, options.truncate == .error {
        return .failure(
          .textTooLong(pointer: input.pointer, tokens: encoding.untruncatedCount, limit: limit))
      }
      let lease = work.lease(index)
      rows.batch.append(
        BatchRow(
          ids: encoding.ids, typeIDs: encoding.typeIDs, adapter: work.leases[lease].adapter,
          subspace: work.leases[lease].subspace, normalize: options.normalize))
      rows.truncated.append(encoding.isTruncated)
    }
    return .success(rows)
  }
}
