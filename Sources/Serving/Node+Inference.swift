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
    try await infer(
      items: inputs.map { InferenceItem(task: task, input: $0, options: options) },
      timeoutMilliseconds: timeoutMilliseconds, principal: principal)
  }

  public func infer(
    items: [InferenceItem], timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> InferenceResult {
    try scheduler.admit(rows: items.count)
    let limit = min(timeoutMilliseconds ?? .max, configuration.requestTimeoutMilliseconds)
    let deadline = Clock.nanoseconds() + Int64(limit) * 1_000_000
    let (leases, leaseOf) = try await leases(for: items)
    let encodings = try await tokenise(items)
    var parts = leases.map { InferenceScheduler.Part(task: $0.task, subspace: $0.subspaceDigest ?? "") }
    var rows: [BatchRow] = []
    rows.reserveCapacity(items.count)
    for (index, item) in items.enumerated() {
      let lease = leases[leaseOf[index]]
      parts[leaseOf[index]].places.append(index)
      rows.append(
        BatchRow(
          ids: encodings[index].ids, typeIDs: encodings[index].typeIDs, adapter: lease.adapter,
          subspace: lease.subspace, normalize: item.options.normalize))
    }
    let outcome = try await scheduler.run(
      rows, parts: parts, principal: principal.name, deadline: deadline, limitMilliseconds: limit)
    var answers: [InferenceAnswer] = []
    answers.reserveCapacity(items.count)
    for index in items.indices {
      let lease = leases[leaseOf[index]]
      answers.append(
        InferenceAnswer(
          task: lease.task, kind: lease.adapter?.kind ?? .embedding, version: lease.version,
          subspace: lease.subspaceDigest, labels: lease.adapter?.head.head.labels ?? [],
          prediction: outcome.predictions[index], tokens: encodings[index].ids.count,
          truncated: encodings[index].isTruncated))
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
    guard var task = catalog.lookup(key.task) else { throw await unserved(key.task) }
    if let version = key.version, version != task.version {
      let record = try await stored { () throws(StoreError) in try await store.version(version, of: key.task)
      }
      guard record.base == "\(encoder.digest)" else {
        throw .baseMismatch(expected: "\(encoder.digest)", actual: record.base)
      }
      task = ActiveTask(
        name: key.task, kind: task.kind, version: version, digest: record.digest, subspace: record.subspace)
    }
    return try await lease(task)
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

  private func tokenise(_ items: [InferenceItem]) async throws(ServingError) -> [Encoding] {
    let bytes = items.reduce(0) { $0 + $1.input.text.utf8.count + ($1.input.pair?.utf8.count ?? 0) }
    let result: Result<[Encoding], ServingError>
    let encode = stages.encode
    let limit = checkpoint.textLimit
    if bytes <= Self.inlineTextBytes {
      result = Self.tokenise(items, encode, limit)
    } else {
      result = await lanes.run(.inference) { _ in Self.tokenise(items, encode, limit) }
    }
    return try result.get()
  }

  private static func tokenise(
    _ items: [InferenceItem], _ encode: (InferenceInput, Int) -> Encoding, _ limit: Int
  ) -> Result<[Encoding], ServingError> {
    var encodings: [Encoding] = []
    encodings.reserveCapacity(items.count)
    for item in items {
      let encoding = encode(item.input, limit)
      if encoding.isTruncated, item.options.truncate == .error {
        return .failure(
          .textTooLong(pointer: item.input.pointer, tokens: encoding.untruncatedCount, limit: limit))
      }
      encodings.append(encoding)
    }
    return .success(encodings)
  }
}
