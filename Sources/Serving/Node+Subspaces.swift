internal import Adapters
internal import Models
internal import Store

extension Node {
  public func subspaces(after: String?, limit: Int) async throws(ServingError) -> Page<SubspaceSummary> {
    let records = try await stored { () throws(StoreError) in
      try await store.subspaces(after: after, limit: limit + 1)
    }
    return page(records, limit: limit, key: \.id) { Self.summary($0, nil) }
  }

  public func subspace(_ id: String) async throws(ServingError) -> SubspaceSummary {
    let record = try await stored { () throws(StoreError) in try await store.subspace(id, base: base.digest)
    }
    let value = try await stored { () throws(StoreError) in try await subspaces.value(record.digest) }
    return Self.summary(record, value)
  }

  public func makeSubspace(
    _ request: SubspaceRequest, principal: Principal
  ) async throws(ServingError) -> JobSummary {
    try requireOpen()
    try await check(request)
    let stored = StoredSubspaceRequest(request)
    return try await accept(
      NewJob(
        type: JobType.subspace.rawValue, base: base.digest, task: nil, method: nil,
        settings: JSONText.object(stored),
        request: JSONText.object(stored), dataset: nil, idempotencyKey: nil, requestDigest: nil,
        createdBy: principal.name)
    ).job
  }

  private func check(_ request: SubspaceRequest) async throws(ServingError) {
    try await admitJob()
    for name in request.checkpoints where name != "base" && configuration.checkpoints[name] == nil {
      let known = (["base"] + configuration.checkpoints.keys.sorted()).joined(separator: ", ")
      throw .validation([FieldError("/checkpoints", "\(name) is not known", allowed: known)])
    }
    let most = model.sites.map(\.outputs).max() ?? 0
    guard (1...most).contains(request.rank) else {
      throw .validation([FieldError("/rank", "is \(request.rank)", allowed: "1 through \(most)")])
    }
    switch request.source {
    case .deltas where request.checkpoints.isEmpty:
      throw .validation([FieldError("/checkpoints", "is empty", allowed: "at least one name")])
    case .adapters:
      guard !request.versions.isEmpty else {
        throw .validation([FieldError("/versions", "is empty", allowed: "at least one task@version")])
      }
      for (task, version) in request.versions {
        let adapter = try await adapterVersion(version, of: task)
        guard !adapter.usesSubspace, !adapter.updates.isEmpty else { throw .subspaceNotGrown }
      }
    default: break
    }
    let isTaken = try await stored { () throws(StoreError) in
      try await store.hasSubspace(named: request.name, base: base.digest)
    }
    guard !isTaken, request.name != "default" || request.makeDefault else {
      throw .validation([FieldError("/name", "\(request.name) is taken", allowed: "another name")])
    }
  }

  /// A stored version with its matrices.
  func adapterVersion(_ version: Int, of task: String) async throws(ServingError) -> AdapterVersion {
    let bytes = try await stored { () throws(StoreError) in try await store.versionBytes(version, of: task) }
    do throws(AdapterError) {
      return try AdapterVersion(encoded: bytes)
    } catch {
      throw ServingError(error)
    }
  }

  private static func summary(_ record: SubspaceRecord, _ value: Subspace?) -> SubspaceSummary {
    let sites = value?.sites.sorted { $0.key < $1.key }.map { name, site in
      SubspaceSummary.Site(
        name: name, outputs: site.outputs, rank: site.rank, singularValues: site.singularValues,
        energyKept: site.energyKept)
    }
    return SubspaceSummary(
      id: record.id, name: record.name, digest: record.digest, base: record.base,
      source: SubspaceSource(rawValue: record.source) ?? .weights,
      scope: SubspaceScope(rawValue: record.scope) ?? .site, center: record.center, rank: record.rank,
      isDefault: record.isDefault, bytes: record.byteCount, sites: sites ?? [],
      createdAt: Timestamp.text(record.createdAt), createdBy: record.createdBy)
  }
}

/// What the runner needs to make a subspace, after a restart too.
struct StoredSubspaceRequest: Codable, Sendable {
  let name: String
  let source: SubspaceSource
  let checkpoints: [String]
  let versions: [String]
  let scope: SubspaceScope
  let rank: Int
  let center: Bool
  let seed: UInt64
  let makeDefault: Bool

  enum CodingKeys: String, CodingKey {
    case name, source, checkpoints, versions, scope, rank, center, seed
    case makeDefault = "default"
  }

  init(_ request: SubspaceRequest) {
    name = request.name
    source = request.source
    // None for the weights: the base's own, as the job shows.
    let isBase = request.source == .weights && request.checkpoints.isEmpty
    checkpoints = isBase ? ["base"] : request.checkpoints
    versions = request.versions.map { "\($0.task)@\($0.version)" }
    scope = request.scope
    rank = request.rank
    center = request.center
    seed = request.seed
    makeDefault = request.makeDefault
  }
}
