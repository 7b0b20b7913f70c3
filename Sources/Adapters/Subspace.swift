public import Digests
import Safetensors
public import Tensors

/// Where a subspace comes from; METHODS' four sources. The raw value is the name used over HTTP.
public enum SubspaceSource: String, Sendable, CaseIterable, Codable {
  /// The weights of one or several checkpoints of one architecture.
  case weights
  /// Those checkpoints minus the base.
  case deltas
  /// The updates `s·B·A` of versions with a B of their own.
  case adapters
  /// A random orthonormal basis, the control.
  case random
}

/// Which sites share one decomposition.
public enum SubspaceScope: String, Sendable, CaseIterable, Codable {
  /// Every site has its own.
  case site
  /// Query, key and value of a layer share one (equal widths required); other sites have their own.
  case layerQKV = "layer_qkv"
  /// All sites with equal outputs share one.
  case global
}

/// B at one site.
public struct SubspaceSite: Sendable, Equatable {
  /// B, `[dOut, rank]`: orthonormal columns, ordered by singular value.
  public let basis: Matrix
  /// One per column, descending, rounded to float32 so that files carry them exactly; 1 for a random basis.
  public let singularValues: [Double]
  /// The kept columns' share of the squared Frobenius norm, 0 through 1.
  public let energyKept: Double
  /// Singular values at or below it are rounding; their columns were not kept.
  public let noiseFloor: Double

  /// Width of the site's output.
  public var outputs: Int { basis.rows }
  /// Columns kept.
  public var rank: Int { basis.columns }

  public init(basis: Matrix, singularValues: [Double], energyKept: Double, noiseFloor: Double) {
    self.basis = basis
    self.singularValues = singularValues.map { Double(Float($0)) }
    self.energyKept = Double(Float(energyKept))
    self.noiseFloor = Double(Float(noiseFloor))
  }
}

/// The common-subspace matrices of one base: immutable, addressed by the digest of their content.
public struct Subspace: Sendable, Equatable {
  public let base: Digest
  public let source: SubspaceSource
  public let scope: SubspaceScope
  public let centred: Bool
  /// By site name; a site that no source touches is absent.
  public let sites: [String: SubspaceSite]
  /// SHA-256 of the encoded file.
  public let digest: Digest

  public init(
    base: Digest, source: SubspaceSource, scope: SubspaceScope, centred: Bool, sites: [String: SubspaceSite]
  ) {
    self.base = base
    self.source = source
    self.scope = scope
    self.centred = centred
    self.sites = sites
    digest = .sha256(
      of: Self.encode(base: base, source: source, scope: scope, centred: centred, sites: sites))
  }

  /// The largest number of columns at any site: the highest rank that a task can ask for.
  public var rank: Int { sites.values.map(\.basis.columns).max() ?? 0 }

  /// Name of the format in the metadata.
  public static let format = "corad-subspace-1"

  /// The subspace as a safetensors file: `SITE.B`, `SITE.singular_values`, `SITE.summary` (energy kept, noise floor).
  /// Equal subspaces give equal bytes.
  public func encoded() -> [UInt8] {
    Self.encode(base: base, source: source, scope: scope, centred: centred, sites: sites)
  }

  private static func encode(
    base: Digest, source: SubspaceSource, scope: SubspaceScope, centred: Bool, sites: [String: SubspaceSite]
  ) -> [UInt8] {
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    for (name, site) in sites {
      tensors.append(("\(name).B", [site.basis.rows, site.basis.columns], site.basis.values))
      tensors.append(
        ("\(name).singular_values", [site.singularValues.count], site.singularValues.map(Float.init)))
      tensors.append(("\(name).summary", [2], [Float(site.energyKept), Float(site.noiseFloor)]))
    }
    return SafetensorsEncoder.encode(
      tensors,
      metadata: [
        "format": format, "base": base.description, "source": source.rawValue, "scope": scope.rawValue,
        "centred": centred ? "true" : "false",
      ])
  }

  /// Reads what `encoded()` wrote; a missing, extra, mis-shaped or non-finite tensor and a basis that is not
  /// orthonormal are refused by name.
  public init(encoded bytes: [UInt8]) throws(AdapterError) {
    var reader = try TensorReader(bytes, format: Self.format)
    let centred = try reader.text("centred")
    guard centred == "true" || centred == "false" else {
      throw .metadata(key: "centred", reason: "is neither true nor false")
    }
    var sites: [String: SubspaceSite] = [:]
    for name in reader.names where name.hasSuffix(".B") {
      let site = String(name.dropLast(2))
      let basis = try reader.matrix(name)
      guard basis.columns <= basis.rows, basis.isOrthonormal else {
        throw .tensor(name: name, reason: "has columns that are not orthonormal")
      }
      let summary = try reader.vector("\(site).summary", count: 2)
      sites[site] = SubspaceSite(
        basis: basis,
        singularValues: try reader.vector("\(site).singular_values", count: basis.columns).map(Double.init),
        energyKept: Double(summary[0]), noiseFloor: Double(summary[1]))
    }
    try reader.finish()
    guard !sites.isEmpty else { throw .malformed("the subspace has no site") }
    self.init(
      base: try reader.digest("base"), source: try reader.value("source"), scope: try reader.value("scope"),
      centred: centred == "true", sites: sites)
  }
}

extension Matrix {
  /// Largest entry of `BᵀB - I` that still counts as orthonormal in float32.
  static let orthonormalTolerance = 1e-4

  /// True when the columns are orthonormal to float32's rounding.
  var isOrthonormal: Bool {
    var transposed = Matrix(zeros: columns, rows)
    for row in 0..<rows {
      for column in 0..<columns { transposed.values[column * rows + row] = values[row * columns + column] }
    }
    var gram = [Double](repeating: 0, count: columns * columns)
    transposed.withView { Gram.accumulate($0, scale: 1, into: &gram) }
    for i in 0..<columns {
      for j in 0..<columns where !(abs(gram[i * columns + j] - (i == j ? 1 : 0)) <= Self.orthonormalTolerance)
      {
        return false
      }
    }
    return true
  }
}
