public import Adapters
public import Models
internal import Tensors

/// One tokenised row with what it needs, leased: nothing of it changes while the batch runs.
public struct BatchRow: Sendable {
  public let ids: [Int32]
  /// Segment ids, as many as `ids`.
  public let typeIDs: [Int32]
  /// nil: the bare base.
  public let adapter: ResidentAdapter?
  public let subspace: ResidentSubspace?
  /// For embeddings.
  public let normalize: Bool

  public init(
    ids: [Int32], typeIDs: [Int32], adapter: ResidentAdapter?, subspace: ResidentSubspace?, normalize: Bool
  ) {
    self.ids = ids
    self.typeIDs = typeIDs
    self.adapter = adapter
    self.subspace = subspace
    self.normalize = normalize
  }
}

/// Runs rows of many tasks in one forward pass a lane.
///
/// A row's bits depend neither on its neighbours nor on the lane: the default subspace alone takes the fused product,
/// whatever else the batch holds, and every kernel reduces in one fixed order.
public struct BatchExecutor: Sendable {
  /// Below this many tokens a second lane costs more than it gives.
  static let splitTokens = 64

  private let base: BaseModel
  private let lanes: ComputeLanes

  public init(base: BaseModel, lanes: ComputeLanes) {
    self.base = base
    self.lanes = lanes
  }

  /// - Parameters:
  ///   - rows: sorted so that rows of one adapter are neighbours.
  ///   - primary: the subspace whose B rides in the base's products.
  /// - Returns: a prediction per row, in order.
  public func run(_ rows: [BatchRow], primary: ResidentSubspace?) async -> [Prediction] {
    await withCheckedContinuation { continuation in
      run(rows, primary: primary) { continuation.resume(returning: $0) }
    }
  }

  /// The same without waiting: `done` is called on a lane.
  public func run(
    _ rows: [BatchRow], primary: ResidentSubspace?, done: @escaping @Sendable ([Prediction]) -> Void
  ) {
    let base = base
    let pieces = Self.pieces(rows, lanes: lanes.count).map { Array(rows[$0]) }
    lanes.map(.inference, pieces) { piece, arena in
      Self.forward(piece, base: base, primary: primary, arena: arena)
    } done: {
      done($0.flatMap(\.self))
    }
  }

  /// Contiguous pieces of about equal token counts, at most one a lane.
  static func pieces(_ rows: [BatchRow], lanes: Int) -> [Range<Int>] {
    let tokens = rows.reduce(0) { $0 + $1.ids.count }
    let count = min(lanes, max(1, tokens / splitTokens), rows.count)
    guard count > 1 else { return rows.isEmpty ? [] : [0..<rows.count] }
    var pieces: [Range<Int>] = []
    var start = 0
    var seen = 0
    for (index, row) in rows.enumerated() {
      seen += row.ids.count
      if pieces.count < count - 1, seen * count >= tokens * (pieces.count + 1) {
        pieces.append(start..<index + 1)
        start = index + 1
      }
    }
    if start < rows.count { pieces.append(start..<rows.count) }
    return pieces
  }

  private static func forward(
    _ rows: [BatchRow], base: BaseModel, primary: ResidentSubspace?, arena: Arena
  ) -> [Prediction] {
    var ids: [Int32] = []
    var types: [Int32] = []
    var starts = [0]
    for row in rows {
      ids += row.ids
      types += row.typeIDs
      starts.append(ids.count)
    }
    let groups = groups(of: rows)
    let rowGroups = groups.map { group in
      RowGroup(
        rows: starts[group.lowerBound]..<starts[group.upperBound],
        adapter: rows[group.lowerBound].adapter, subspace: rows[group.lowerBound].subspace)
    }
    let patch = BatchPatch(sites: base.sites, groups: rowGroups, primary: primary)
    let hidden = base.forward(
      PackedBatch(ids: ids, types: types, starts: starts), patch: patch, arena: arena)
    var predictions: [Prediction] = []
    predictions.reserveCapacity(rows.count)
    for group in groups {
      let adapter = rows[group.lowerBound].adapter
      let head = adapter?.head ?? .mean
      let tape = HeadForward.run(head.views, hidden: hidden, starts: starts, sequences: group, arena: arena)
      for (index, row) in group.enumerated() {
        predictions.append(
          Prediction(
            kind: adapter?.kind ?? .embedding, head: head.head,
            outputs: UnsafeBufferPointer(start: tape.outputs.row(index), count: tape.outputs.columns),
            normalised: rows[row].normalize))
      }
    }
    return predictions
  }

  private static func groups(of rows: [BatchRow]) -> [Range<Int>] {
    var groups: [Range<Int>] = []
    var start = 0
    for index in rows.indices.dropFirst() where rows[index].adapter !== rows[start].adapter {
      groups.append(start..<index)
      start = index
    }
    if !rows.isEmpty { groups.append(start..<rows.count) }
    return groups
  }
}
