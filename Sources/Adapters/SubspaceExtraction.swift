public import Digests
public import Models
internal import Safetensors
internal import Tensors

/// Why a subspace could not be made. Nothing was stored.
public enum SubspaceError: Error, Equatable, Sendable {
  /// The versions use a shared B, so their updates lie in its span: nothing can grow out of them.
  case notGrown
  /// Centring needs two sources, every other source one.
  case tooFewSources(needed: Int, given: Int)
  /// A source has other sites than the base.
  case architecture(String)
  /// Query, key and value of this layer differ in width, so they cannot share one B.
  case widthsDiffer(layer: Int)
  /// Every source is zero at this site (deltas of a checkpoint to itself).
  case empty(site: String)
  /// A version was made for another base.
  case baseMismatch(expected: Digest, actual: Digest)
  /// A rank below 1.
  case rank(Int)
  case checkpoint(ModelError)
  /// The sources hold values that are not finite, or LAPACK did not converge.
  case notFinite(site: String)
  /// The progress callback asked to stop.
  case cancelled
}

/// How a subspace is extracted.
public struct SubspaceOptions: Sendable, Equatable {
  public var scope: SubspaceScope
  /// Columns kept at most; a site has at most `dOut`.
  public var rank: Int
  /// Subtract the elementwise mean over the sources (two at least).
  public var centred: Bool
  /// For `random` alone.
  public var seed: UInt64

  public init(scope: SubspaceScope = .site, rank: Int = 64, centred: Bool = false, seed: UInt64 = 0) {
    self.scope = scope
    self.rank = rank
    self.centred = centred
    self.seed = seed
  }
}

/// Extracts B: the leading left singular vectors of `M = [M₁ | … | M_N]`, per scope. METHODS 1.3.
///
/// The Gram matrix of the smaller side is accumulated in Double, one site of one source in memory at a time.
/// `progress` gets the share done, 0 through 1; returning false cancels.
public enum SubspaceExtraction {
  public typealias Progress = (Double) -> Bool

  /// From the weights of one or several checkpoints; `base` names the digest and the sites.
  public static func weights(
    _ checkpoints: [Checkpoint], base: Checkpoint, options: SubspaceOptions = .init(),
    progress: Progress = { _ in true }
  ) throws(SubspaceError) -> Subspace {
    for checkpoint in checkpoints { try requireSame(base, checkpoint) }
    let sources = checkpoints.map { checkpoint in
      Source(rounding: checkpoint.rounding) { (site) throws(SubspaceError) -> Matrix? in
        try checkpoint.matrix(site)
      }
    }
    return try extract(
      sources, sites: base.sites, base: base.digest, source: .weights, normalised: false, options, progress)
  }

  /// From checkpoints minus the base.
  public static func deltas(
    _ checkpoints: [Checkpoint], base: Checkpoint, options: SubspaceOptions = .init(),
    progress: Progress = { _ in true }
  ) throws(SubspaceError) -> Subspace {
    for checkpoint in checkpoints { try requireSame(base, checkpoint) }
    let sources = checkpoints.map { checkpoint in
      Source(rounding: max(checkpoint.rounding, base.rounding)) { (site) throws(SubspaceError) -> Matrix? in
        let from = try base.matrix(site)
        var delta = try checkpoint.matrix(site)
        for index in delta.values.indices { delta.values[index] -= from.values[index] }
        return delta
      } magnitude: { (site) throws(SubspaceError) -> Matrix? in
        try base.matrix(site)
      }
    }
    return try extract(
      sources, sites: base.sites, base: base.digest, source: .deltas, normalised: false, options, progress)
  }

  /// From the updates of versions with a B of their own, each of unit Frobenius norm, so that no loud one owns B.
  public static func adapters(
    _ versions: [AdapterVersion], sites: [Site], base: Digest, options: SubspaceOptions = .init(),
    progress: Progress = { _ in true }
  ) throws(SubspaceError) -> Subspace {
    for version in versions {
      guard version.base == base else { throw .baseMismatch(expected: base, actual: version.base) }
      guard !version.usesSubspace, !version.updates.isEmpty else { throw .notGrown }
    }
    let names = Set(sites.map(\.name))
    for version in versions {
      if let name = version.updates.keys.filter({ !names.contains($0) }).min() {
        throw .architecture("the base has no site \(name)")
      }
    }
    let sources = versions.map { version in
      Source(rounding: Source.float32Rounding) { (site) throws(SubspaceError) -> Matrix? in
        guard let update = version.updates[site.name], let basis = update.privateBasis else { return nil }
        return product(basis, update.coefficients, scale: version.scale)
      }
    }
    return try extract(
      sources, sites: sites, base: base, source: .adapters, normalised: true, options, progress)
  }

  /// A random orthonormal basis: normal entries, orthonormalised. The control.
  public static func random(
    sites: [Site], base: Digest, options: SubspaceOptions = .init()
  ) throws(SubspaceError) -> Subspace {
    guard options.rank >= 1 else { throw .rank(options.rank) }
    var result: [String: SubspaceSite] = [:]
    for (index, group) in try groups(sites, options.scope).enumerated() {
      let outputs = group[0].outputs
      let rank = min(options.rank, outputs)
      var random = RandomSource(seed: options.seed, stream: UInt64(index))
      let entries = (0..<outputs * rank).map { _ in Double(random.normal()) }
      guard let basis = Factorisation.orthonormalise(entries, rows: outputs, columns: rank) else {
        throw .notFinite(site: group[0].name)
      }
      let site = SubspaceSite(
        basis: signed(basis, rows: outputs, columns: rank), singularValues: Array(repeating: 1, count: rank),
        energyKept: Double(rank) / Double(outputs), noiseFloor: 0)
      for member in group { result[member.name] = site }
    }
    return Subspace(base: base, source: .random, scope: options.scope, centred: false, sites: result)
  }

  /// Each column's entry of largest magnitude (the first of equals) is made positive, so that bytes are reproducible.
  static func signed(_ basis: [Double], rows: Int, columns: Int) -> Matrix {
    var values = [Float](repeating: 0, count: rows * columns)
    for column in 0..<columns {
      var peak = 0.0
      for row in 0..<rows where abs(basis[row * columns + column]) > abs(peak) {
        peak = basis[row * columns + column]
      }
      for row in 0..<rows {
        let value = basis[row * columns + column]
        values[row * columns + column] = Float(peak < 0 ? -value : value)
      }
    }
    return Matrix(rows: rows, columns: columns, values: values)
  }

  /// Sites that share one decomposition, in site order.
  static func groups(_ sites: [Site], _ scope: SubspaceScope) throws(SubspaceError) -> [[Site]] {
    switch scope {
    case .site: return sites.map { [$0] }
    case .global:
      let widths = Set(sites.map(\.outputs)).sorted()
      return widths.map { width in sites.filter { $0.outputs == width } }
    case .layerQKV:
      var result: [[Site]] = []
      for site in sites {
        guard [.query, .key, .value].contains(site.kind) else {
          result.append([site])
          continue
        }
        if let last = result.indices.last, let first = result[last].first, first.layer == site.layer,
          [.query, .key, .value].contains(first.kind)
        {
          guard first.outputs == site.outputs else { throw .widthsDiffer(layer: site.layer) }
          result[last].append(site)
        } else {
          result.append([site])
        }
      }
      return result
    }
  }

  private static func requireSame(_ base: Checkpoint, _ other: Checkpoint) throws(SubspaceError) {
    guard base.sites == other.sites else {
      throw .architecture("the checkpoint has other sites than the base")
    }
  }

  private static func product(_ b: Matrix, _ a: Matrix, scale: Float) -> Matrix {
    var values = [Float](repeating: 0, count: b.rows * a.columns)
    for i in 0..<b.rows {
      for k in 0..<a.rows {
        let factor = scale * b.values[i * b.columns + k]
        for j in 0..<a.columns { values[i * a.columns + j] += factor * a.values[k * a.columns + j] }
      }
    }
    return Matrix(rows: b.rows, columns: a.columns, values: values)
  }
}

extension Checkpoint {
  /// Half a unit in the last place of the stored type, relative.
  fileprivate var rounding: Double {
    switch elementType {
    case .bf16: 0x1p-9
    case .f16: 0x1p-12
    default: Source.float32Rounding
    }
  }

  fileprivate func matrix(_ site: Site) throws(SubspaceError) -> Matrix {
    do {
      return try weight(of: site)
    } catch {
      throw .checkpoint(error)
    }
  }
}
