internal import Tensors

/// One post-norm block.
///
///     h = norm₁(X + attention(X)),  Y = norm₂(h + feedForward(h))          X, h, Y [T, D]
struct Block: Sendable {
  private let layer: Int
  private let attention: SelfAttention
  private let attentionNorm: ResidualNorm
  private let feedForward: FeedForward
  private let outputNorm: ResidualNorm

  /// What backward needs.
  struct Tape {
    let input: MatrixView
    let attention: SelfAttention.Tape
    let attentionNorm: ResidualNorm.Tape
    let middle: MatrixView
    let feedForward: FeedForward.Tape
    let outputNorm: ResidualNorm.Tape
  }

  init(
    layer: Int, _ sites: ArraySlice<Site>, _ configuration: EncoderConfiguration, _ weights: WeightMap,
    as element: PackedElement
  ) throws(ModelError) {
    self.layer = layer
    let epsilon = configuration.layerNormEpsilon
    attention = try SelfAttention(
      layer: layer, sites, heads: configuration.heads, weights, as: element)
    attentionNorm = try ResidualNorm(WeightMap.attentionNorm(layer), epsilon: epsilon, weights)
    feedForward = try FeedForward(sites, activation: configuration.activation, weights, as: element)
    outputNorm = try ResidualNorm(WeightMap.outputNorm(layer), epsilon: epsilon, weights)
  }

  var residentBytes: Int {
    attention.residentBytes + attentionNorm.residentBytes + feedForward.residentBytes
      + outputNorm.residentBytes
  }

  /// Replaces x by Y in place; all scratch is given back.
  func forward(
    _ x: MatrixView, batch: PackedBatch, patch: (any ProjectionPatch)?, dropout: DropoutMask?, arena: Arena
  ) {
    arena.scope {
      let f = arena.matrix(x.rows, x.columns)
      attention.forward(x, batch: batch, patch: patch, arena: arena, into: f)
      dropout?.apply(.attentionOutput(layer: layer), batch: batch, to: f)
      attentionNorm.forward(x, f, into: x)
      feedForward.forward(x, patch: patch, arena: arena, into: f)
      dropout?.apply(.output(layer: layer), batch: batch, to: f)
      outputNorm.forward(x, f, into: x)
    }
  }

  /// Overwrites `y` and keeps what backward needs; memory comes from `arena` and stays.
  func forwardForTraining(
    _ x: MatrixView, batch: PackedBatch, patch: any ProjectionPatch, dropout: DropoutMask?, arena: Arena,
    into y: MatrixView
  ) -> Tape {
    let attentionNormTape = ResidualNorm.Tape(rows: x.rows, columns: x.columns, arena: arena)
    let outputNormTape = ResidualNorm.Tape(rows: x.rows, columns: x.columns, arena: arena)
    let middle = arena.matrix(x.rows, x.columns)
    // y is written last, so it lends its memory to both functions before the sums.
    let attentionTape = attention.forwardForTraining(
      x, batch: batch, patch: patch, arena: arena, into: y)
    dropout?.apply(.attentionOutput(layer: layer), batch: batch, to: y)
    attentionNorm.forward(x, y, tape: attentionNormTape, into: middle)
    let feedForwardTape = feedForward.forwardForTraining(middle, patch: patch, arena: arena, into: y)
    dropout?.apply(.output(layer: layer), batch: batch, to: y)
    outputNorm.forward(middle, y, tape: outputNormTape, into: y)
    return Tape(
      input: x, attention: attentionTape, attentionNorm: attentionNormTape, middle: middle,
      feedForward: feedForwardTape, outputNorm: outputNormTape)
  }

  /// Replaces `d`, the gradient at Y, by the gradient at X; with `isLowest` it ends at the lowest adapted site and
  /// leaves in `d` nothing of use.
  ///
  ///     ds₂ = norm₂′·dY,  dh = ds₂ + feedForward′·drop(ds₂),  ds₁ = norm₁′·dh,  dX = ds₁ + attention′·drop(ds₁)
  func backward(
    _ d: MatrixView, tape: Tape, batch: PackedBatch, patch: any ProjectionPatch, dropout: DropoutMask?,
    isLowest: Bool, arena: Arena
  ) {
    let attentionSites = [attention.query, attention.key, attention.value, attention.output]
    let passes = !isLowest || attentionSites.contains { patch.adapts($0.site.index) }
    arena.scope {
      outputNorm.backward(d, tape: tape.outputNorm, into: d)
      let dF = dropped(d, .output(layer: layer), batch, dropout, arena)
      feedForward.backward(
        dF, input: tape.middle, tape: tape.feedForward, patch: patch, arena: arena,
        into: passes ? d : nil)
      guard passes else { return }
      attentionNorm.backward(d, tape: tape.attentionNorm, into: d)
      let dA = dropped(d, .attentionOutput(layer: layer), batch, dropout, arena)
      attention.backward(
        dA, input: tape.input, tape: tape.attention, batch: batch, patch: patch, arena: arena,
        into: isLowest ? nil : d)
    }
  }

  /// The gradient at a function's output: d itself, or a copy under the mask. Both functions read it to the end before
  /// they add to d.
  private func dropped(
    _ d: MatrixView, _ place: DropoutMask.Place, _ batch: PackedBatch, _ dropout: DropoutMask?,
    _ arena: Arena
  ) -> MatrixView {
    guard let dropout else { return d }
    let copy = arena.matrix(d.rows, d.columns)
    copy.copy(from: d)
    dropout.apply(place, batch: batch, to: copy)
    return copy
  }
}
