public import Digests
public import Models
public import Tensors

/// A subspace ready to serve: B packed per site, held once for all tasks.
public final class ResidentSubspace: Sendable {
  public let digest: Digest
  /// By site index; nil where the subspace has no columns. Sites of one scope share one packed copy.
  public let columns: [PackedWeights?]
  /// What B takes in memory; a copy that sites share counts once.
  public let bytes: Int

  /// - Throws: `.tensor` when a basis does not fit its site or belongs to no site.
  public init(_ subspace: Subspace, sites: [Site]) throws(AdapterError) {
    var packed: [(matrix: Matrix, columns: PackedWeights)] = []
    var columns = [PackedWeights?](repeating: nil, count: sites.count)
    var bytes = 0
    var found = 0
    for (index, site) in sites.enumerated() {
      guard let basis = subspace.sites[site.name]?.basis else { continue }
      found += 1
      guard basis.rows == site.outputs else {
        throw .tensor(name: "\(site.name).B", reason: "has \(basis.rows) rows, expected \(site.outputs)")
      }
      if subspace.scope != .site, let shared = packed.first(where: { $0.matrix == basis }) {
        columns[index] = shared.columns
        continue
      }
      let weights = PackedWeights(basis)
      packed.append((basis, weights))
      bytes += weights.residentBytes
      columns[index] = weights
    }
    guard found == subspace.sites.count else {
      let names = Set(sites.map(\.name))
      let extra = subspace.sites.keys.filter { !names.contains($0) }.min() ?? ""
      throw .tensor(name: "\(extra).B", reason: "is extra: the base has no such site")
    }
    digest = subspace.digest
    self.columns = columns
    self.bytes = bytes
  }
}
