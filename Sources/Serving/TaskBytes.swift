internal import Models

/// What one more task takes in memory for one choice of sites, without its head.
///
///     shared B:  4·Σ r·dIn          LoRA:  4·Σ r·(dIn + dOut)          r = min(rank, dIn, dOut) at each site
///
/// With a shared B a task is its A alone. That is half of a LoRA only where a site is square: the keys and values of
/// grouped queries have fewer outputs than inputs, a feed-forward part's inner width is larger than the model's.
public struct TaskBytes: Sendable {
  /// Names of the choice's sites.
  public let sites: [String]
  public let shared: Int
  public let lora: Int

  /// - Parameter rank: at least 1.
  static func all(_ sites: [Site], _ family: ModelFamily, rank: Int) -> [TaskBytes] {
    let choices = [[.query, .value], family.siteKinds(in: .attention), family.siteKinds(in: .all)]
    return choices.map { kinds in
      let chosen = sites.filter { kinds.contains($0.kind) }
      func bytes(_ floats: (Site) -> Int) -> Int {
        4 * chosen.reduce(0) { $0 + min(rank, $1.inputs, $1.outputs) * floats($1) }
      }
      return TaskBytes(
        sites: kinds.map(family.name(of:)), shared: bytes(\.inputs), lora: bytes { $0.inputs + $0.outputs })
    }
  }
}
