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
    var leases: [LeaseKey: Lease] = [:]
    for item in items {
      let key = LeaseKey(task: item.task, version: item.options.version)
      if leases[key] == nil { leases[key] = try await lease(key) }
    }
    let encodings = try await tokenise(items)
    let rows = zip(items, encodings).compactMap { item, encoding in
      leases[LeaseKey(task: item.task, version: item.options.version)].map { lease in
        InferenceScheduler.Row(
          batchRow: BatchRow(
            ids: encoding.ids, typeIDs: encoding.typeIDs, adapter: lease.adapter, subspace: lease.subspace,
            normalize: item.options.normalize), task: item.task, subspace: lease.subspaceDigest ?? "",
          principal: principal.name)
      }
    }
    let outcomes = try await scheduler.run(rows, deadline: deadline, limitMilliseconds: limit)
    var answers: [InferenceAnswer] = []
    answers.reserveCapacity(items.count)
    for (index, item) in items.enumerated() {
      guard let lease = leases[LeaseKey(task: item.task, version: item.options.version)] else { continue }
      answers.append(
        InferenceAnswer(
          task: item.task, kind: lease.adapter?.kind ?? .embedding, version: lease.version,
          subspace: lease.subspaceDigest, labels: lease.adapter?.head.head.labels ?? [],
          prediction: outcomes[index].prediction, tokens: encodings[index].ids.count,
          truncated: encodings[index].isTruncated))
    }
    return InferenceResult(
      answers: answers,
      queueMilliseconds: Double(outcomes.map(\.queueNanoseconds).max() ?? 0) / 1e6,
      computeMilliseconds: Double(outcomes.map(\.computeNanoseconds).max() ?? 0) / 1e6)
  }

  private struct LeaseKey: Hashable {
    let task: String
    let version: Int?
  }

  /// What a row keeps until it is answered, whatever is published meanwhile.
  struct Lease: Sendable {
    let adapter: ResidentAdapter?
    let subspace: ResidentSubspace?
    let version: Int?
    let subspaceDigest: String?
  }

  private func lease(_ key: LeaseKey) async throws(ServingError) -> Lease {
    if key.task == Self.baseTask {
      if let version = key.version { throw .notFound(.version, id: "base@\(version)") }
      return Lease(adapter: nil, subspace: nil, version: nil, subspaceDigest: nil)
    }
    if let version = key.version, catalog.lookup(key.task) == nil {
      return try await lease(try await inactive(key.task, version))
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
    return Lease(
      adapter: adapter, subspace: subspace, version: task.version, subspaceDigest: task.subspace)
  }

  /// A version of a task that has no active one.
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

  private func tokenise(_ items: [InferenceItem]) async throws(ServingError) -> [Encoding] {
    let bytes = items.reduce(0) { $0 + $1.input.text.utf8.count + ($1.input.pair?.utf8.count ?? 0) }
    let result: Result<[Encoding], ServingError>
    let tokenizer = tokenizer
    let limit = checkpoint.textLimit
    if bytes <= Self.inlineTextBytes {
      result = Self.tokenise(items, tokenizer, limit)
    } else {
      result = await lanes.run(.inference) { _ in Self.tokenise(items, tokenizer, limit) }
    }
    return try result.get()
  }

  private static func tokenise(
    _ items: [InferenceItem], _ tokenizer: Tokenizer, _ limit: Int
  ) -> Result<[Encoding], ServingError> {
    var encodings: [Encoding] = []
    encodings.reserveCapacity(items.count)
    for item in items {
      let encoding = tokenizer.encode(item.input.text, pair: item.input.pair, limit: limit)
      if encoding.isTruncated, item.options.truncate == .error {
        return .failure(
          .textTooLong(pointer: item.input.pointer, tokens: encoding.untruncatedCount, limit: limit))
      }
      encodings.append(encoding)
    }
    return .success(encodings)
  }
}
