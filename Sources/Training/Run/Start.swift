public import Adapters
public import Models
internal import Tensors

/// Where a run's parameters start.
struct Start {
  let base: BaseModel
  let subspace: Subspace?
  let set: TrainingSet
  let settings: TrainingSettings
  let method: any TrainingMethod.Type

  /// Deviation of a head's random weights, as BERT initialises its own (arXiv 1810.04805, initializer_range).
  private static let headDeviation: Float = 0.02

  private var adapted: [Site] { settings.adapted(base.sites) }

  /// Refuses what the method cannot start from.
  func check() throws(TrainingError) {
    guard method.needsSubspace, !adapted.isEmpty else { return }
    guard let subspace else { throw .needsSubspace(method: settings.method) }
    guard subspace.base == base.digest else { throw .baseMismatch }
    let columns = adapted.map { subspace.sites[$0.name]?.basis.columns ?? 0 }
    if let missing = zip(adapted, columns).first(where: { $0.1 == 0 })?.0 {
      throw .setting(name: "sites", reason: "names \(missing.name), where the subspace has no columns")
    }
    let most = columns.max() ?? 0
    guard settings.rank <= most else { throw .rankAboveSubspace(rank: settings.rank, columns: most) }
  }

  private func methodSite(_ site: Site) -> MethodSite {
    let basis = method.needsSubspace ? subspace?.sites[site.name]?.basis : nil
    let rank = min(settings.rank, basis?.columns ?? min(site.inputs, site.outputs))
    let shared = basis.map { basis in
      var values: [Float] = []
      for row in 0..<basis.rows {
        values += basis.values[row * basis.columns..<row * basis.columns + rank]
      }
      return Matrix(rows: basis.rows, columns: rank, values: values)
    }
    return MethodSite(inputs: site.inputs, outputs: site.outputs, rank: rank, shared: shared)
  }

  /// The method's own start, by site index.
  func updates(stream: UInt64) -> [Int: SiteUpdate] {
    var updates: [Int: SiteUpdate] = [:]
    for site in adapted {
      var random = RandomSource(seed: settings.seed, stream: stream + UInt64(site.index))
      let description = methodSite(site)
      updates[site.index] = SiteUpdate(
        coefficients: method.coefficients(description, random: &random),
        privateBasis: method.basis(description, random: &random))
    }
    return updates
  }

  /// A version's factors, when it fits this run.
  func updates(of version: AdapterVersion) throws(TrainingError) -> [Int: SiteUpdate] {
    try settings.check(start: version, base: base, subspace: subspace.map { "\($0.digest)" })
    guard Head.sameLabels(version.head.labels, set.labels) else {
      throw .incompatibleStart("it has another label set")
    }
    do {
      try version.validate(
        sites: base.sites, base: base.digest, width: base.width, subspace: subspace)
    } catch {
      throw .adapter(error)
    }
    var updates: [Int: SiteUpdate] = [:]
    for site in adapted { updates[site.index] = version.updates[site.name] }
    return updates
  }

  /// A fresh head for the kind.
  func head(stream: UInt64) -> Head {
    let width = base.width
    var random = RandomSource(seed: settings.seed, stream: stream)
    func layer(_ outputs: Int) -> DenseLayer {
      let values = (0..<outputs * width).map { _ in Self.headDeviation * random.normal() }
      return DenseLayer(
        weight: Matrix(rows: outputs, columns: width, values: values),
        bias: Array(repeating: 0, count: outputs))
    }
    let dense: DenseLayer? =
      switch settings.headDense {
      case .none: nil
      case .fresh: layer(width)
      case .pooler: base.pooler.map { DenseLayer(weight: $0.weight, bias: $0.bias) } ?? layer(width)
      }
    let linear: DenseLayer? =
      switch settings.kind {
      case .classification, .multilabel: layer(set.labels.count)
      case .regression: layer(1)
      case .embedding, .generation: nil
      }
    return Head(
      pooling: settings.pooling, dense: dense, activation: dense == nil ? nil : .tanh, linear: linear,
      labels: set.labels)
  }
}

extension TrainingSettings {
  fileprivate func adapted(_ sites: [Site]) -> [Site] {
    let kinds = Set(self.sites)
    return sites.filter { kinds.contains($0.kind) }
  }

  /// Refuses a version that a run with these settings cannot start from, whatever its data are.
  /// - Parameter subspace: the digest, as text, of what the run adapts through.
  public func check(
    start version: AdapterVersion, base: BaseModel, subspace: String?
  ) throws(TrainingError) {
    guard version.base == base.digest else { throw .baseMismatch }
    guard version.kind == kind else { throw .incompatibleStart("it is of another kind") }
    guard version.method.utf8.elementsEqual(method.utf8) else {
      throw .incompatibleStart("it was trained with \(version.method)")
    }
    guard version.rank == rank, version.alpha == alpha else {
      throw .incompatibleStart("it has rank \(version.rank) and alpha \(version.alpha)")
    }
    guard version.head.pooling == pooling, (version.head.dense == nil) == (headDense == .none) else {
      throw .incompatibleStart("it has another kind of head")
    }
    guard Set(version.updates.keys) == Set(adapted(base.sites).map(\.name)) else {
      throw .incompatibleStart("it adapts other sites")
    }
    guard !version.usesSubspace || version.subspace.map({ "\($0)" }) == subspace else {
      throw .incompatibleStart("it uses another subspace")
    }
  }
}
