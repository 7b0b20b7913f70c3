internal import Tensors

/// One pre-norm block.
///
///     h = X + attention(norm₁(X)),  Y = h + feedForward(norm₂(h))          X, h, Y [T, D]
struct DecoderBlock: Sendable {
  private let attentionNorm: RMSNorm
  private let attention: CausalSelfAttention
  private let feedForwardNorm: RMSNorm
  private let feedForward: GatedFeedForward

  /// What backward needs; inverse roots `[T]`.
  struct Tape {
    let input: MatrixView
    let normedInput: MatrixView
    let inverseInput: UnsafeMutablePointer<Float>
    let attention: CausalSelfAttention.Tape
    let middle: MatrixView
    let normedMiddle: MatrixView
    let inverseMiddle: UnsafeMutablePointer<Float>
    let feedForward: GatedFeedForward.Tape
  }

  init(
    layer: Int, _ sites: ArraySlice<Site>, _ configuration: DecoderConfiguration, _ weights: WeightMap,
    as element: PackedElement
  ) throws(ModelError) {
    let epsilon = configuration.rmsNormEpsilon
    attentionNorm = try RMSNorm(WeightMap.inputNorm(layer), epsilon: epsilon, weights)
    attention = try CausalSelfAttention(layer: layer, sites, configuration, weights, as: element)
    feedForwardNorm = try RMSNorm(WeightMap.middleNorm(layer), epsilon: epsilon, weights)
    feedForward = try GatedFeedForward(sites, weights, as: element)
  }

  var residentBytes: Int {
    attentionNorm.residentBytes + attention.residentBytes + feedForwardNorm.residentBytes
      + feedForward.residentBytes
  }

  /// Replaces x by Y in place; all scratch is given back.
  func forward(
    _ x: MatrixView, spans: AttentionSpans, patch: (any ProjectionPatch)?, arena: Arena
  ) {
    arena.scope {
      let normed = arena.matrix(x.rows, x.columns)
      let f = arena.matrix(x.rows, x.columns)
      attentionNorm.forward(x, into: normed)
      attention.forward(normed, spans: spans, patch: patch, arena: arena, into: f)
      Elementwise.add(x, f, into: x)
      feedForwardNorm.forward(x, into: normed)
      feedForward.forward(normed, patch: patch, arena: arena, into: f)
      Elementwise.add(x, f, into: x)
    }
  }

  /// Overwrites `y` and keeps what backward needs; memory comes from `arena` and stays.
  func forwardForTraining(
    _ x: MatrixView, spans: AttentionSpans, patch: any ProjectionPatch, arena: Arena, into y: MatrixView
  ) -> Tape {
    let normedInput = arena.matrix(x.rows, x.columns)
    let inverseInput = arena.floats(x.rows)
    let middle = arena.matrix(x.rows, x.columns)
    let normedMiddle = arena.matrix(x.rows, x.columns)
    let inverseMiddle = arena.floats(x.rows)
    attentionNorm.forward(x, into: normedInput, inverse: inverseInput)
    // y is written last, so it lends its memory to both functions before the sums.
    let attentionTape = attention.forwardForTraining(
      normedInput, spans: spans, patch: patch, arena: arena, into: y)
    Elementwise.add(x, y, into: middle)
    feedForwardNorm.forward(middle, into: normedMiddle, inverse: inverseMiddle)
    let feedForwardTape = feedForward.forwardForTraining(normedMiddle, patch: patch, arena: arena, into: y)
    Elementwise.add(middle, y, into: y)
    return Tape(
      input: x, normedInput: normedInput, inverseInput: inverseInput, attention: attentionTape,
      middle: middle, normedMiddle: normedMiddle, inverseMiddle: inverseMiddle,
      feedForward: feedForwardTape)
  }

  /// Replaces `d`, the gradient at Y, by the gradient at X; with `isLowest` it ends at the lowest adapted site and
  /// leaves in `d` nothing of use.
  ///
  ///     dh = dY + norm₂′·feedForward′·dY,  dX = dh + norm₁′·attention′·dh
  func backward(
    _ d: MatrixView, tape: Tape, spans: AttentionSpans, patch: any ProjectionPatch, isLowest: Bool,
    arena: Arena
  ) {
    let attentionSites = [attention.query, attention.key, attention.value, attention.output]
    let passes = !isLowest || attentionSites.contains { patch.adapts($0.site.index) }
    arena.scope {
      let dNormed = arena.matrix(d.rows, d.columns)
      feedForward.backward(
        d, input: tape.normedMiddle, tape: tape.feedForward, patch: patch, arena: arena,
        into: passes ? dNormed : nil)
      guard passes else { return }
      feedForwardNorm.backward(
        dNormed, input: tape.middle, inverse: tape.inverseMiddle, accumulate: true, into: d)
      attention.backward(
        d, input: tape.normedInput, tape: tape.attention, spans: spans, patch: patch, arena: arena,
        into: isLowest ? nil : dNormed)
      guard !isLowest else { return }
      attentionNorm.backward(
        dNormed, input: tape.input, inverse: tape.inverseInput, accumulate: true, into: d)
    }
  }
}
