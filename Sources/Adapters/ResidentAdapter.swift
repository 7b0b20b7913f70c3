public import Digests
public import Models
public import Tensors

/// One version ready to serve: `s·A` formed, private Bs packed, the head laid out. Immutable; any number of lanes
/// read it at once.
public final class ResidentAdapter: Sendable {
  public let kind: TaskKind
  public let subspace: Digest?
  /// The largest rank at any site.
  public let rank: Int
  public let head: ResidentHead
  /// What one more resident task takes: `s·A`, private Bs and the head.
  public let bytes: Int

  /// By site index: where `s·A` stands, in site order without gaps, so that neighbouring sites stack.
  private let spans: [Span?]
  private let floats: FrozenFloats
  private let privateColumns: [PackedWeights?]

  private struct Span {
    let offset: Int
    let rank: Int
    let inputs: Int
  }

  /// The version must have been validated against the base and its subspace.
  ///
  /// - Throws: `.tensor` for an update at no site of the base, or of another width.
  public init(_ version: AdapterVersion, sites: [Site]) throws(AdapterError) {
    var spans = [Span?](repeating: nil, count: sites.count)
    var packed = [PackedWeights?](repeating: nil, count: sites.count)
    var (count, rank, bytes, found) = (0, 0, 0, 0)
    for (index, site) in sites.enumerated() {
      guard let update = version.updates[site.name] else { continue }
      found += 1
      let a = update.coefficients
      guard a.columns == site.inputs else {
        throw .tensor(name: "\(site.name).A", reason: "has \(a.columns) columns, expected \(site.inputs)")
      }
      spans[index] = Span(offset: count, rank: a.rows, inputs: a.columns)
      count += a.values.count
      rank = max(rank, a.rows)
      guard let basis = update.privateBasis else { continue }
      guard basis.rows == site.outputs, basis.columns == a.rows else {
        throw .tensor(
          name: "\(site.name).B",
          reason: "has shape [\(basis.rows), \(basis.columns)], expected [\(site.outputs), \(a.rows)]")
      }
      let weights = PackedWeights(basis)
      packed[index] = weights
      bytes += weights.residentBytes
    }
    guard found == version.updates.count else {
      let names = Set(sites.map(\.name))
      let extra = version.updates.keys.filter { !names.contains($0) }.min() ?? ""
      throw .tensor(name: "\(extra).A", reason: "is extra: the base has no such site")
    }
    let scale = version.scale
    let starts = spans
    floats = FrozenFloats(count: count) { memory in
      for (index, span) in starts.enumerated() {
        guard let span, let a = version.updates[sites[index].name]?.coefficients else { continue }
        for (at, value) in a.values.enumerated() { memory[span.offset + at] = scale * value }
      }
    }
    kind = version.kind
    subspace = version.subspace
    head = ResidentHead(version.head)
    self.spans = spans
    self.rank = rank
    privateColumns = packed
    self.bytes = bytes + floats.bytes + head.bytes
  }

  /// The rank at a site; 0 where the task changes nothing.
  public func rank(_ site: Int) -> Int { spans[site]?.rank ?? 0 }

  /// `s·A` of a site, `[r, dIn]`; valid while the adapter lives.
  public func coefficients(_ site: Int) -> MatrixView? {
    spans[site].map { floats.matrix(at: $0.offset, rows: $0.rank, columns: $0.inputs) }
  }

  /// `s·A` of all adapted sites of a range that share an input, one above the other: `[Σ r, dIn]`.
  public func stackedCoefficients(_ sites: Range<Int>) -> MatrixView? {
    let members = spans[sites].compactMap { $0 }
    guard let first = members.first, members.allSatisfy({ $0.inputs == first.inputs }) else { return nil }
    return floats.matrix(
      at: first.offset, rows: members.reduce(0) { $0 + $1.rank }, columns: first.inputs)
  }

  /// The task's own B at a site, packed `[dOut, r]`; nil where the shared subspace serves.
  public func privateBasis(_ site: Int) -> PackedWeights? { privateColumns[site] }
}

/// A head laid out for the lanes.
public final class ResidentHead: Sendable {
  public let head: Head
  private let floats: FrozenFloats

  public init(_ head: Head) {
    self.head = head
    var values: [Float] = []
    for layer in [head.dense, head.linear] {
      guard let layer else { continue }
      values += layer.weight.values
      values += layer.bias
    }
    floats = FrozenFloats(values)
  }

  /// The bare base as an embedding: mean over the tokens.
  public static let mean = ResidentHead(.mean)

  public var bytes: Int { floats.bytes }

  /// Views of the layers, valid while this object lives.
  public var views: HeadViews {
    var offset = 0
    func layer(_ layer: DenseLayer?) -> HeadViews.Layer? {
      guard let layer else { return nil }
      let (rows, columns) = (layer.weight.rows, layer.weight.columns)
      defer { offset += rows * columns + rows }
      return HeadViews.Layer(
        weight: floats.matrix(at: offset, rows: rows, columns: columns),
        bias: floats.pointer(at: offset + rows * columns))
    }
    let dense = layer(head.dense)
    return HeadViews(
      pooling: head.pooling, dense: dense, activation: head.activation, linear: layer(head.linear))
  }
}
