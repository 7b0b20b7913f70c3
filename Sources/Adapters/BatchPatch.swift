public import Models
public import Tensors

/// Contiguous rows of a batch that one adapter answers.
public struct RowGroup: Sendable {
  /// Token rows.
  public let rows: Range<Int>
  /// nil: the bare base.
  public let adapter: ResidentAdapter?
  /// The subspace that the adapter uses; nil when it has a B of its own everywhere.
  public let subspace: ResidentSubspace?

  public init(rows: Range<Int>, adapter: ResidentAdapter?, subspace: ResidentSubspace?) {
    self.rows = rows
    self.adapter = adapter
    self.subspace = subspace
  }
}

/// The adapters of one batch.
///
///     Z[group] ← X[group]·(s·A[task])ᵀ        then  Y = X·Wᵀ + Z·Bᵀ  as one dense product
///
/// B of the primary subspace is shared by all tasks, so its half is part of the base projection, whatever the tasks.
/// Rows of the bare base have Z = 0. Rows with another B add their own product to Y afterwards, so the shared path
/// is the same with or without them. A row's bits do not depend on its neighbours.
///
/// One batch, one lane: it remembers Z between the calls for a site.
public final class BatchPatch: ProjectionPatch {
  private let sites: [Site]
  private let groups: [Group]
  private let primary: ResidentSubspace?
  /// By site: the largest rank among the rows that use the primary B; 0 where none does.
  private let sharedRanks: [Int]
  private let adapted: [Bool]
  private var sharedZ: [MatrixView?]
  private var ownZ: [[(rows: Range<Int>, z: MatrixView, columns: PackedWeights)]]
  private var isPrepared: [Bool]

  /// A group of at least one row.
  private struct Group {
    let rows: Range<Int>
    let adapter: ResidentAdapter?
    let subspace: ResidentSubspace?
    /// The adapter's subspace is the primary one.
    let isPrimary: Bool
  }

  /// - Parameter groups: in row order, covering every row of the batch once; sorted by subspace, then task.
  public init(sites: [Site], groups: [RowGroup], primary: ResidentSubspace?) {
    self.sites = sites
    self.groups = groups.filter { !$0.rows.isEmpty }.map {
      Group(
        rows: $0.rows, adapter: $0.adapter, subspace: $0.subspace,
        isPrimary: primary != nil && $0.subspace?.digest == primary?.digest)
    }
    self.primary = primary
    var ranks = [Int](repeating: 0, count: sites.count)
    var adapted = [Bool](repeating: false, count: sites.count)
    for group in self.groups {
      guard let adapter = group.adapter else { continue }
      for site in sites.indices {
        let rank = adapter.rank(site)
        guard rank > 0 else { continue }
        adapted[site] = true
        if Self.isShared(group, adapter, site, primary) { ranks[site] = max(ranks[site], rank) }
      }
    }
    sharedRanks = ranks
    self.adapted = adapted
    sharedZ = Array(repeating: nil, count: sites.count)
    ownZ = Array(repeating: [], count: sites.count)
    isPrepared = Array(repeating: false, count: sites.count)
  }

  private static func isShared(
    _ group: Group, _ adapter: ResidentAdapter, _ site: Int, _ primary: ResidentSubspace?
  ) -> Bool {
    group.isPrimary && adapter.privateBasis(site) == nil && primary?.columns[site] != nil
  }

  public func adapts(_ site: Int) -> Bool { adapted[site] }

  public var lowestAdaptedLayer: Int? {
    sites.indices.filter { adapted[$0] }.map { sites[$0].layer }.min()
  }

  /// Z of the sites that read this input, each group's in one product where its ranks allow.
  public func prepare(_ range: Range<Int>, input: MatrixView, arena: Arena) {
    let members = range.filter { adapted[$0] && !isPrepared[$0] }
    guard !members.isEmpty else { return }
    let width = members.reduce(0) { $0 + sharedRanks[$1] }
    let wide = arena.matrix(input.rows, width)
    var offset = 0
    for site in members {
      isPrepared[site] = true
      ownZ[site].removeAll(keepingCapacity: true)
      let rank = sharedRanks[site]
      sharedZ[site] = rank > 0 ? wide.columns(offset..<offset + rank) : nil
      offset += rank
    }
    for group in groups {
      let x = input.rows(group.rows)
      let target = wide.rows(group.rows)
      guard let adapter = group.adapter else {
        target.fill(0)
        continue
      }
      let fits = members.allSatisfy {
        adapter.rank($0) == sharedRanks[$0] && Self.isShared(group, adapter, $0, primary)
      }
      if fits, let coefficients = adapter.coefficients(of: range), coefficients.columns == width {
        Products.nn(x, padded: coefficients, into: target)
        continue
      }
      for site in members { shrink(group, adapter, site, x, arena) }
    }
  }

  /// One group's Z at one site: into the shared columns, or into its own where another B expands it.
  private func shrink(
    _ group: Group, _ adapter: ResidentAdapter, _ site: Int, _ x: MatrixView, _ arena: Arena
  ) {
    let rank = adapter.rank(site)
    let isShared = Self.isShared(group, adapter, site, primary)
    let shared = sharedZ[site]?.rows(group.rows)
    if let shared {
      let used = isShared ? rank : 0
      if used < shared.columns { shared.columns(used..<shared.columns).fill(0) }
    }
    guard let a = adapter.coefficients(site) else { return }
    if isShared {
      if let shared { Products.nn(x, padded: a, into: shared.columns(0..<rank)) }
      return
    }
    guard let columns = adapter.privateBasis(site) ?? group.subspace?.columns[site] else { return }
    // The packed product reads every column of B, so a rank below them is filled up with zeros.
    let z = arena.matrix(x.rows, columns.inputs)
    if rank < columns.inputs { z.columns(rank..<columns.inputs).fill(0) }
    Products.nn(x, padded: a, into: z.columns(0..<rank))
    ownZ[site].append((group.rows, z, columns))
  }

  public func shrink(
    _ site: Int, input: MatrixView, arena: Arena
  ) -> (z: MatrixView, columns: PackedWeights)? {
    guard adapted[site] else { return nil }
    prepare(site..<site + 1, input: input, arena: arena)
    isPrepared[site] = false
    guard let z = sharedZ[site], let columns = primary?.columns[site] else { return nil }
    sharedZ[site] = nil
    return (z, columns)
  }

  public func expand(_ site: Int, output: MatrixView, arena: Arena) {
    for part in ownZ[site] {
      part.columns.multiply(
        part.z, bias: nil, extra: nil, accumulate: true, into: output.rows(part.rows))
    }
    ownZ[site].removeAll(keepingCapacity: true)
  }

  /// Serving has no gradients.
  public func backward(
    _ site: Int, dOutput: MatrixView, input: MatrixView, dInput: MatrixView?, arena: Arena
  ) {}
}
