public import Adapters
internal import Digests
internal import Engine
internal import Foundation
internal import Models
internal import Store

extension Node {
  public func tasks(after: String?, limit: Int) async throws(ServingError) -> Page<TaskSummary> {
    let records = try await stored { () throws(StoreError) in
      try await store.tasks(after: after, limit: limit + 1)
    }
    return page(records, limit: limit, key: \.name, summary(_:))
  }

  public func task(_ name: String) async throws(ServingError) -> TaskSummary {
    summary(try await stored { () throws(StoreError) in try await store.task(name) })
  }

  public func versions(of task: String) async throws(ServingError) -> [VersionSummary] {
    try await stored { () throws(StoreError) in try await store.versions(of: task) }.map(summary(_:))
  }

  public func version(_ version: Int, of task: String) async throws(ServingError) -> VersionSummary {
    summary(try await stored { () throws(StoreError) in try await store.version(version, of: task) })
  }

  public func activate(
    task: String, version: Int, expected: Int?, principal: Principal
  ) async throws(ServingError) -> TaskSummary {
    let record = try await stored { () throws(StoreError) in try await store.version(version, of: task) }
    guard record.base == base.digest else {
      throw .baseMismatch(expected: base.digest, actual: record.base)
    }
    let kind = try await stored { () throws(StoreError) in try await store.task(task) }.kind
    let active = ActiveTask(record, kind: kind)
    let catalog = catalog
    try await stored { () throws(StoreError) in
      try await store.activate(task: task, version: version, expected: expected, by: principal.name) {
        if let active { catalog.set(active) }
      }
    }
    return try await self.task(task)
  }

  public func rollback(task: String, principal: Principal) async throws(ServingError) -> TaskSummary {
    let kind = try await stored { () throws(StoreError) in try await store.task(task) }.kind
    let base = "\(model.digest)"
    let catalog = catalog
    _ = try await stored { () throws(StoreError) in
      try await store.rollback(task: task) { record in
        if record.base == base, let active = ActiveTask(record, kind: kind) {
          catalog.set(active)
        } else {
          catalog.remove(task)
        }
      }
    }
    return try await self.task(task)
  }

  public func delete(task: String) async throws(ServingError) {
    let versions = try await stored { () throws(StoreError) in try await store.versions(of: task) }
    let catalog = catalog
    try await stored { () throws(StoreError) in
      try await store.deleteTask(task) { catalog.remove(task) }
    }
    for version in versions { cache.remove(version.digest) }
  }

  public func delete(version: Int, of task: String) async throws(ServingError) {
    let record = try await stored { () throws(StoreError) in try await store.version(version, of: task) }
    try await stored { () throws(StoreError) in try await store.deleteVersion(version, of: task) }
    cache.remove(record.digest)
  }

  /// Publishes a version durably, then swaps it in: the call that a job uses, and the only one.
  ///
  /// - Returns: its number, and whether it answers now.
  public func publish(
    _ version: AdapterVersion, task: String, activate: Bool, ifActive: Int?? = nil,
    metricsJSON: String = "{}",
    job: String? = nil, principal: Principal
  ) async throws(ServingError) -> (version: Int, isActive: Bool) {
    let encoded = version.encoded()
    let digest = "\(Digest.sha256(of: encoded))"
    let sites = model.sites.map(\.name).filter { version.updates[$0] != nil }
    do throws(AdapterError) {
      // Resident before it is visible: the first request after the swap finds it.
      _ = cache.insert(try ResidentAdapter(version, sites: model.sites), digest: digest)
    } catch {
      throw ServingError(error)
    }
    let new = NewVersion(
      task: task, kind: version.kind.rawValue, labels: JSONText.array(version.head.labels), digest: digest,
      base: "\(version.base)", subspace: version.subspace.map { "\($0)" }, method: version.method,
      rank: version.rank, alpha: Double(version.alpha), sites: JSONText.array(sites), metrics: metricsJSON,
      job: job, bytes: encoded, createdBy: principal.name)
    let activation: PublishActivation =
      if let ifActive { .ifActive(ifActive) } else if activate { .always } else { .never }
    let catalog = catalog
    let kind = version.kind
    return try await stored { () throws(StoreError) in
      try await store.publish(
        new, activation: activation, finalEvent: #"{"state":"succeeded","version":$version}"#
      ) { number, isActive in
        guard isActive else { return }
        catalog.set(
          ActiveTask(name: task, kind: kind, version: number, digest: digest, subspace: new.subspace))
      }
    }
  }

  func summary(_ record: TaskRecord) -> TaskSummary {
    TaskSummary(
      name: record.name, kind: TaskKind(rawValue: record.kind) ?? .classification,
      labels: JSONText.strings(record.labels), activeVersion: record.active?.version,
      active: record.active.map(summary(_:)), versionCount: record.versionCount, bytes: record.byteCount,
      isServed: record.active?.base == "\(model.digest)", createdAt: Timestamp.text(record.createdAt),
      createdBy: record.createdBy)
  }

  func summary(_ record: VersionRecord) -> VersionSummary {
    VersionSummary(
      version: record.version, digest: record.digest, method: record.method, rank: record.rank,
      alpha: record.alpha, sites: JSONText.strings(record.sites), subspace: record.subspace,
      base: record.base,
      bytes: record.byteCount, metricsJSON: record.metrics, job: record.job,
      createdAt: Timestamp.text(record.createdAt), createdBy: record.createdBy)
  }

  /// A page of `limit` out of `limit + 1` records.
  func page<Record, Summary: Sendable>(
    _ records: [Record], limit: Int, key: (Record) -> String, _ summary: (Record) -> Summary
  ) -> Page<Summary> {
    let shown = records.prefix(limit)
    return Page(
      elements: shown.map(summary), next: records.count > limit ? shown.last.map(key) : nil)
  }
}

/// The little JSON that the store keeps as text.
enum JSONText {
  static func array(_ strings: [String]) -> String {
    (try? JSONEncoder().encode(strings)).map { String(decoding: $0, as: UTF8.self) } ?? "[]"
  }

  static func strings(_ json: String) -> [String] {
    (try? JSONDecoder().decode([String].self, from: Data(json.utf8))) ?? []
  }

  /// Keys in snake case, sorted, as over HTTP.
  static func object(_ value: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
  }
}

extension JSONText {
  /// Keys as the type names them: for what only the daemon reads.
  static func plain(_ value: some Encodable) -> String {
    (try? JSONEncoder().encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
  }

  static func decode<T: Decodable>(_ type: T.Type, _ json: String) -> T? {
    try? JSONDecoder().decode(type, from: Data(json.utf8))
  }
}
