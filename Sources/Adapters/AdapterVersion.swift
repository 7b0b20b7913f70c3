public import Digests
public import Models
public import Tensors

/// What one task changes at one site: `ΔW = s·B·A`.
public struct SiteUpdate: Sendable, Equatable {
  /// A, `[r, dIn]`, unfolded: the scale is not in it.
  public let coefficients: Matrix
  /// B, `[dOut, r]`, where the task has its own; nil where the shared subspace's first r columns serve.
  public let privateBasis: Matrix?

  public init(coefficients: Matrix, privateBasis: Matrix? = nil) {
    self.coefficients = coefficients
    self.privateBasis = privateBasis
  }
}

/// One immutable version of a task's adapter: a value that is stored, exported and made resident.
public struct AdapterVersion: Sendable, Equatable {
  public let kind: TaskKind
  /// The training method's name (`cora`, `cora-init`, `lora`).
  public let method: String
  /// The rank asked for; a narrow site may have fewer.
  public let rank: Int
  public let alpha: Float
  /// The base that the version belongs to.
  public let base: Digest
  /// The shared subspace it uses; nil when every update has a private B.
  public let subspace: Digest?
  /// By site name.
  public let updates: [String: SiteUpdate]
  public let head: Head

  public init(
    kind: TaskKind, method: String, rank: Int, alpha: Float, base: Digest, subspace: Digest?,
    updates: [String: SiteUpdate], head: Head
  ) {
    self.kind = kind
    self.method = method
    self.rank = rank
    self.alpha = alpha
    self.base = base
    self.subspace = subspace
    self.updates = updates
    self.head = head
  }

  /// s = alpha / rank.
  public var scale: Float { alpha / Float(rank) }

  /// True when at least one update uses the shared subspace.
  public var usesSubspace: Bool { updates.values.contains { $0.privateBasis == nil } }

  /// Refuses whatever would not serve: another base or subspace, unknown sites, shapes that do not fit, values that
  /// are not finite, a head that does not match the kind.
  ///
  /// - Parameters:
  ///   - sites: the base's sites.
  ///   - base: the base's digest.
  ///   - width: the base's hidden width.
  ///   - subspace: the subspace that would serve it, when it uses one.
  public func validate(
    sites: [Site], base: Digest, width: Int, subspace: Subspace?
  ) throws(AdapterError) {
    guard self.base == base else { throw .baseMismatch(expected: base, actual: self.base) }
    guard rank >= 1 else { throw .metadata(key: "rank", reason: "is \(rank), must be at least 1") }
    guard alpha.isFinite, alpha > 0 else {
      throw .metadata(key: "alpha", reason: "is \(alpha), must be finite and above 0")
    }
    if usesSubspace {
      guard let subspace, subspace.digest == self.subspace else {
        throw .subspaceMismatch(expected: self.subspace, actual: subspace?.digest)
      }
    }
    let known = Dictionary(sites.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for (name, update) in updates.sorted(by: { $0.key < $1.key }) {
      guard let site = known[name] else {
        throw .tensor(name: "\(name).A", reason: "is extra: the base has no such site")
      }
      try validate(update, at: site, subspace: subspace)
    }
    try head.validate(kind: kind, width: width)
  }

  private func validate(
    _ update: SiteUpdate, at site: Site, subspace: Subspace?
  ) throws(AdapterError) {
    let a = update.coefficients
    guard a.rows >= 1, a.rows <= rank, a.columns == site.inputs else {
      throw .tensor(
        name: "\(site.name).A",
        reason: "has shape [\(a.rows), \(a.columns)], expected [1...\(rank), \(site.inputs)]")
    }
    try requireFinite(a.values, "\(site.name).A")
    if let b = update.privateBasis {
      guard b.rows == site.outputs, b.columns == a.rows else {
        throw .tensor(
          name: "\(site.name).B",
          reason: "has shape [\(b.rows), \(b.columns)], expected [\(site.outputs), \(a.rows)]")
      }
      try requireFinite(b.values, "\(site.name).B")
    } else {
      let columns = subspace?.sites[site.name]?.basis.columns ?? 0
      guard a.rows <= columns else {
        throw .tensor(
          name: "\(site.name).A",
          reason: "has rank \(a.rows), the subspace has \(columns) columns at this site")
      }
    }
  }
}

/// Refuses a tensor with a NaN or an infinity.
func requireFinite(_ values: [Float], _ name: String) throws(AdapterError) {
  guard values.allSatisfy(\.isFinite) else {
    throw .tensor(name: name, reason: "holds a value that is not finite")
  }
}

extension Head {
  /// Refuses a head that does not fit the kind or the width of the base.
  public func validate(kind: TaskKind, width: Int) throws(AdapterError) {
    var width = width
    if let dense {
      try dense.validate("head.dense", inputs: width)
      width = dense.weight.rows
    }
    if let linear { try linear.validate("head.linear", inputs: width) }
    let outputs = linear?.weight.rows
    switch kind {
    case .classification, .multilabel:
      guard outputs == labels.count, labels.count >= 2 || kind == .multilabel && labels.count >= 1 else {
        throw .tensor(
          name: "head.linear.weight", reason: "has \(outputs ?? 0) outputs for \(labels.count) labels")
      }
    case .regression:
      guard outputs == 1 else {
        throw .tensor(name: "head.linear.weight", reason: "has \(outputs ?? 0) outputs, regression has one")
      }
    case .embedding: break
    case .generation:
      guard dense == nil, linear == nil, labels.isEmpty else {
        throw .tensor(name: "head", reason: "is extra: a writer has the base's own")
      }
    }
    guard thresholds.count == (kind == .multilabel ? labels.count : 0) else {
      throw .tensor(
        name: "head.thresholds", reason: "has \(thresholds.count) values for \(labels.count) labels")
    }
    try requireFinite(thresholds, "head.thresholds")
    try requireFinite([offset, scale], "head.scaling")
  }
}

extension DenseLayer {
  func validate(_ name: String, inputs: Int) throws(AdapterError) {
    guard weight.columns == inputs, weight.rows >= 1 else {
      throw .tensor(
        name: "\(name).weight",
        reason: "has shape [\(weight.rows), \(weight.columns)], expected [_, \(inputs)]")
    }
    guard bias.count == weight.rows else {
      throw .tensor(name: "\(name).bias", reason: "has \(bias.count) values, expected \(weight.rows)")
    }
    try requireFinite(weight.values, "\(name).weight")
    try requireFinite(bias, "\(name).bias")
  }
}
