import Adapters
import Models
import Tensors

/// Tasks with random coefficients over one random subspace: what they say costs nothing either way.
struct DecoderTasks {
  static let rank = 8

  let subspace: ResidentSubspace
  let adapters: [ResidentAdapter]

  /// - Parameter kinds: the sites that every task adapts.
  init(_ decoder: Decoder, kinds: Set<SiteKind>, count: Int) throws {
    let sites = decoder.sites.filter { kinds.contains($0.kind) }
    let subspace = try SubspaceExtraction.random(
      sites: sites, base: decoder.digest, options: .init(rank: Self.rank))
    self.subspace = try ResidentSubspace(subspace, sites: decoder.sites)
    adapters = try (0..<count).map { index in
      var random = RandomSource(seed: UInt64(index))
      var updates: [String: SiteUpdate] = [:]
      for site in sites {
        let values = (0..<Self.rank * site.inputs).map { _ in 0.02 * random.normal() }
        updates[site.name] = SiteUpdate(
          coefficients: Matrix(rows: Self.rank, columns: site.inputs, values: values))
      }
      return try ResidentAdapter(
        AdapterVersion(
          kind: .embedding, method: "cora", rank: Self.rank, alpha: Float(2 * Self.rank),
          base: decoder.digest, subspace: subspace.digest, updates: updates, head: .mean),
        sites: decoder.sites)
    }
  }

  /// Bytes of one task's A.
  var adapterBytes: Int { adapters.first?.bytes ?? 0 }
}
