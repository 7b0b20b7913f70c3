internal import Adapters
internal import Serving

/// `POST /subspaces`.
enum SubspaceBody {
  static func request(_ value: JSONValue) throws(Problem) -> SubspaceRequest {
    let errors = FieldCollector()
    guard
      let body = ObjectDecoder(
        value, pointer: "",
        allowed: [
          "name", "source", "checkpoints", "versions", "scope", "rank", "center", "seed", "default",
        ],
        errors: errors)
    else { throw Problem(.validation(errors.errors)) }
    let name = body.name("name", isRequired: true)
    _ = body.required("source")
    let source = body.choice("source", SubspaceSource.self)
    let checkpoints = checkpoints(body)
    let versions = versions(body)
    let scope = body.choice("scope", SubspaceScope.self)
    let rank = body.integer("rank", in: Limits.subspaceRank)
    let center = body.bool("center")
    let isDefault = body.bool("default")
    var seed: UInt64 = 0
    if let value = body.value("seed") {
      if let given = value.number?.unsigned {
        seed = given
      } else {
        errors.add("/seed", "must be a whole number", allowed: "0 through \(UInt64.max)")
      }
    }
    if let source { fits(source, body, checkpoints, versions) }
    try errors.check()
    return SubspaceRequest(
      name: name ?? "", source: source ?? .weights, checkpoints: checkpoints, versions: versions,
      scope: scope ?? .site, rank: rank ?? 64, center: center ?? false, seed: seed,
      makeDefault: isDefault ?? false)
  }

  private static func checkpoints(_ body: ObjectDecoder) -> [String] {
    let names = body.array("checkpoints", count: 0...Limits.checkpoints) ?? []
    return names.enumerated().compactMap { index, name in
      if case .string(let text) = name, Names.isValid(text) { return text }
      body.errors.add("/checkpoints/\(index)", "is not a name", allowed: Names.pattern)
      return nil
    }
  }

  private static func versions(_ body: ObjectDecoder) -> [(task: String, version: Int)] {
    let names = body.array("versions", count: 0...Limits.versions) ?? []
    return names.enumerated().compactMap { index, name in
      if case .string(let text) = name, let version = Names.version(text) { return version }
      body.errors.add("/versions/\(index)", "is not a version", allowed: "task@3")
      return nil
    }
  }

  /// What a source is made of: no schema can say it.
  private static func fits(
    _ source: SubspaceSource, _ body: ObjectDecoder, _ checkpoints: [String],
    _ versions: [(task: String, version: Int)]
  ) {
    switch source {
    case .weights: break
    case .deltas:
      if checkpoints.isEmpty { body.errors.add("/checkpoints", "must name at least one for deltas") }
    case .adapters:
      if versions.isEmpty { body.errors.add("/versions", "must name at least one for adapters") }
    case .random: break
    }
    if source == .adapters || source == .random, !checkpoints.isEmpty {
      body.errors.add("/checkpoints", "is for weights and deltas")
    }
    if source != .adapters, !versions.isEmpty { body.errors.add("/versions", "is for adapters") }
  }
}
