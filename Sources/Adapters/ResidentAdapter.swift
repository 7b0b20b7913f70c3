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

  /// By site index. Sites that read one input stand side by side, so that one product serves them; an input's
  /// coefficients are neighbours, so that a lone row reads memory in order.
  private let spans: [Span?]
  private let floats: FrozenFloats
  private let privateColumns: [PackedWeights?]

  /// Where `s·Aᵀ` of a site stands.
  private struct Span {
    let offset: Int
    let rank: Int
    let inputs: Int
    /// From one input's coefficients to the next one's: the ranks of all sites that read it.
    let stride: Int
  }

  /// The version must have been validated against the base and its subspace.
  ///
  /// - Throws: `.tensor` for an update at no site of the base, or of another width.
  public init(_ version: AdapterVersion, sites: [Site]) throws(AdapterError) {
    var spans = [Span?](repeating: nil, count: sites.count)
    var packed = [PackedWeights?](repeating: nil, count: sites.count)
    var (rank, bytes, found) = (0, 0, 0)
    for (index, site) in sites.enumerated() {
      guard let update = version.updates[site.name] else { continue }
      found += 1
      let a = update.coefficients
      guard a.columns == site.inputs else {
        throw .tensor(name: "\(site.name).A", reason: "has \(a.columns) columns, expected \(site.inputs)")
      }
      spans[index] = Span(offset: 0, rank: a.rows, inputs: a.columns, stride: 0)
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
    let count = Self.place(&spans, sites)
    let scale = version.scale
    let placed = spans
    floats = FrozenFloats(count: count) { memory in
      for (index, span) in placed.enumerated() {
        guard let span, let a = version.updates[sites[index].name]?.coefficients else { continue }
        a.values.withUnsafeBufferPointer { values in
          for input in 0..<span.inputs {
            let to = memory + span.offset + input * span.stride
            for row in 0..<span.rank { to[row] = scale * values[row * span.inputs + input] }
          }
        }
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

  /// Gives every span its place; the floats of all.
  private static func place(_ spans: inout [Span?], _ sites: [Site]) -> Int {
    var (count, first) = (0, 0)
    while first < sites.count {
      var end = first + 1
      while end < sites.count, sites[end].readsInput(of: sites[first]) { end += 1 }
      let stride = spans[first..<end].reduce(0) { $0 + ($1?.rank ?? 0) }
      var column = 0
      for index in first..<end {
        guard let span = spans[index] else { continue }
        spans[index] = Span(offset: count + column, rank: span.rank, inputs: span.inputs, stride: stride)
        column += span.rank
      }
      count += stride * sites[first].inputs
      first = end
    }
    return count
  }

  /// The rank at a site; 0 where the task changes nothing.
  public func rank(_ site: Int) -> Int { spans[site]?.rank ?? 0 }

  /// `s·Aᵀ` of a site, `[dIn, r]`, padded as `Products.nn(_:padded:into:)` wants it; valid while the adapter lives.
  public func coefficients(_ site: Int) -> MatrixView? {
    spans[site].map {
      floats.matrix(at: $0.offset, rows: $0.inputs, columns: $0.rank, stride: $0.stride)
    }
  }

  /// `s·Aᵀ` of the adapted sites among some that read one input, side by side: `[dIn, Σ r]`, padded. Nil where none is
  /// adapted.
  public func coefficients(of sites: Range<Int>) -> MatrixView? {
    var (first, columns): (Span?, Int) = (nil, 0)
    for index in sites {
      guard let span = spans[index] else { continue }
      let start = first ?? span
      precondition(span.offset == start.offset + columns, "coefficients: sites of several inputs")
      first = start
      columns += span.rank
    }
    return first.map { floats.matrix(at: $0.offset, rows: $0.inputs, columns: columns, stride: $0.stride) }
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
