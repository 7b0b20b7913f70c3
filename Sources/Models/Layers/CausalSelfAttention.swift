internal import Tensors

/// Attention of every token to those before it and to itself; g query heads share one head of keys and values.
///
///     q, k, v = X·Wᵀ (+ b) each                  X [T, D], q, context [T, heads·d], k, v [T, kvHeads·d]
///     q_h, k_j = turn(norm(·))                   head by head; the norm where the model has one
///     P_h = softmax(q_h·k_jᵀ / √d) over the keys a row sees,  context_h = P_h·v_j        j = h / g, P [n, n]
///     Y = context·Woᵀ (+ bo)
///
/// Backward, from dContext:
///
///     dv_j = Σ_h P_hᵀ·dc_h,  dP = dc_h·v_jᵀ,  dS = P⊙(dP − Σ dP⊙P)/√d,  dq_h = dS·k_j,  dk_j = Σ_h dSᵀ·q_h
///
/// and back through turn and norm.
struct CausalSelfAttention: Sendable {
  let query: Projection
  let key: Projection
  let value: Projection
  let output: Projection
  private let queryNorm: RMSNorm?
  private let keyNorm: RMSNorm?
  private let layer: Int
  private let window: Int?
  private let configuration: DecoderConfiguration

  /// Query rows whose probabilities are in scratch at once while a tape is written.
  private static let rowBlock = 96
  /// The same in a plain forward pass, all heads that share keys counted: two tiles of the widest kernel, and the
  /// probabilities of a long context still in the second cache.
  private static let sharedRows = 24

  /// What backward needs. Probabilities lie sequence after sequence, head after head, each `[n, n]` in rows of n
  /// rounded up to 16.
  struct Tape {
    /// Before norm and turn; the turned one where the model has no such norm.
    let rawQ: MatrixView
    let rawK: MatrixView
    let q: MatrixView
    let k: MatrixView
    let v: MatrixView
    let context: MatrixView
    let inverseQ: UnsafeMutablePointer<Float>
    let inverseK: UnsafeMutablePointer<Float>
    let probabilities: UnsafeMutablePointer<Float>
  }

  init(
    layer: Int, _ sites: ArraySlice<Site>, _ configuration: DecoderConfiguration, _ weights: WeightMap,
    as element: PackedElement
  ) throws(ModelError) {
    let first = sites.startIndex
    query = try Projection(sites[first], weights, as: element)
    key = try Projection(sites[first + 1], weights, as: element)
    value = try Projection(sites[first + 2], weights, as: element)
    output = try Projection(sites[first + 3], weights, as: element)
    if configuration.normsHeads {
      let epsilon = configuration.rmsNormEpsilon
      queryNorm = try RMSNorm(WeightMap.queryNorm(layer), epsilon: epsilon, weights)
      keyNorm = try RMSNorm(WeightMap.keyNorm(layer), epsilon: epsilon, weights)
    } else {
      (queryNorm, keyNorm) = (nil, nil)
    }
    self.layer = layer
    window = configuration.windows[layer]
    self.configuration = configuration
  }

  var residentBytes: Int {
    [query, key, value, output].reduce(0) { $0 + $1.residentBytes }
      + (queryNorm?.residentBytes ?? 0) + (keyNorm?.residentBytes ?? 0)
  }

  private var size: Int { configuration.headSize }
  private var group: Int { configuration.heads / configuration.keyValueHeads }
  private var scale: Float { 1 / Float(size).squareRoot() }

  /// Overwrites `y`, before the residual sum. Scratch: 2·T·(heads + kvHeads)·d, and the probabilities of one block of
  /// rows.
  func forward(
    _ x: MatrixView, spans: AttentionSpans, patch: (any ProjectionPatch)?, arena: Arena, into y: MatrixView
  ) {
    arena.scope {
      let q = arena.matrix(x.rows, configuration.queryWidth)
      let k = arena.matrix(x.rows, configuration.keyValueWidth)
      let v = arena.matrix(x.rows, configuration.keyValueWidth)
      arena.scope {
        Projection.forward(x, patch: patch, arena: arena, into: (query, q), (key, k), (value, v))
      }
      queryNorm?.forward(RMSNorm.heads(q, size: size), into: RMSNorm.heads(q, size: size))
      keyNorm?.forward(RMSNorm.heads(k, size: size), into: RMSNorm.heads(k, size: size))
      arena.shareRows(x.rows) { rows in
        for matrix in [q, k] {
          Elementwise.rotate(
            matrix.rows(rows), cosines: spans.cosines.rows(rows), sines: spans.sines.rows(rows))
        }
        for span in spans.spans { store(k, v, rows.clamped(to: span.rows), span, spans) }
      }
      // The context takes the place of q: a block of rows of a head is read before its context is written.
      attend(spans, q, arena: arena, into: q)
      arena.scope { Projection.forward(q, patch: patch, arena: arena, into: (output, y)) }
    }
  }

  private func pages(_ span: AttentionSpan, _ spans: AttentionSpans, head: Int) -> AttentionPages {
    configuration.pages(
      tokens: span.pageTokens, element: span.element, layer: spans.keepsLayers ? layer : 0, head: head)
  }

  /// Writes some of the span's keys and values into their pages.
  private func store(
    _ k: MatrixView, _ v: MatrixView, _ rows: Range<Int>, _ span: AttentionSpan, _ spans: AttentionSpans
  ) {
    for head in 0..<configuration.keyValueHeads {
      let pages = pages(span, spans, head: head)
      for row in rows {
        let place = span.position + row - span.rows.lowerBound
        pages.store(
          key: k.row(row) + head * size, value: v.row(row) + head * size, token: place % span.pageTokens,
          in: span.pages[place / span.pageTokens])
      }
    }
  }

  /// Rows of one span and the key-value head that a piece of the work attends to.
  private struct AttentionPiece {
    let span: Int
    let tokens: Range<Int>
    let head: Int
  }

  /// The query heads that share keys and values go through the kernel together, some tokens at a time; who computes a
  /// piece, and where it is cut, changes no bit.
  private func attend(_ spans: AttentionSpans, _ q: MatrixView, arena: Arena, into context: MatrixView) {
    var pieces: [AttentionPiece] = []
    var (most, keys) = (1, 0)
    for (index, span) in spans.spans.enumerated() {
      let count = span.rows.count
      let each = max(1, Self.sharedRows / group)
      most = max(most, min(each, count))
      keys = max(keys, AttentionPages.padded(span.position + count))
      for start in stride(from: 0, to: count, by: each) {
        for head in 0..<configuration.keyValueHeads {
          pieces.append(AttentionPiece(span: index, tokens: start..<min(start + each, count), head: head))
        }
      }
    }
    let pages = spans.spans.map { span in span.pages.map { UnsafeRawPointer($0) } }
    let rows = most * group
    arena.scope {
      let probabilities = (0..<arena.members).map { _ in arena.matrix(rows, keys) }
      let queries = (0..<arena.members).map { _ in arena.matrix(rows, size) }
      arena.share(pieces.count) { index, member in
        let piece = pieces[index]
        let span = spans.spans[piece.span]
        let position = span.position + piece.tokens.lowerBound
        let count = piece.tokens.count * group
        let columns = AttentionPages.padded(span.position + piece.tokens.upperBound)
        let queries = queries[member].rows(0..<count)
        gather(q, span, piece, into: queries)
        CausalAttention.run(
          queries, pages: pages[piece.span], self.pages(span, spans, head: piece.head), position: position,
          together: group, window: window, scale: scale,
          probabilities: probabilities[member].rows(0..<count).columns(0..<columns), into: queries)
        scatter(queries, span, piece, into: context)
      }
    }
  }

  /// A piece's query heads, token after token.   into `[tokens · group, size]`
  private func gather(_ q: MatrixView, _ span: AttentionSpan, _ piece: AttentionPiece, into rows: MatrixView)
  {
    for (index, token) in piece.tokens.enumerated() {
      rows.row(index * group).update(
        from: q.row(span.rows.lowerBound + token) + piece.head * group * size, count: group * size)
    }
  }

  private func scatter(
    _ rows: MatrixView, _ span: AttentionSpan, _ piece: AttentionPiece, into context: MatrixView
  ) {
    for (index, token) in piece.tokens.enumerated() {
      (context.row(span.rows.lowerBound + token) + piece.head * group * size).update(
        from: rows.row(index * group), count: group * size)
    }
  }

  /// Some rows of a span and one query head.
  private func attend(
    _ span: AttentionSpan, _ block: Range<Int>, _ q: MatrixView, head: Int, _ pages: [UnsafeRawPointer],
    _ layout: AttentionPages, probabilities: MatrixView, into context: MatrixView
  ) {
    let rows = span.rows.lowerBound + block.lowerBound..<span.rows.lowerBound + block.upperBound
    CausalAttention.run(
      part(q, rows, head), pages: pages, layout, position: span.position + block.lowerBound, together: 1,
      window: window, scale: scale, probabilities: probabilities, into: part(context, rows, head))
  }

  /// The same as `forward` of whole sequences, keeping what backward needs; memory comes from `arena` and stays.
  func forwardForTraining(
    _ x: MatrixView, spans: AttentionSpans, patch: any ProjectionPatch, arena: Arena, into y: MatrixView
  ) -> Tape {
    let (wide, narrow) = (configuration.queryWidth, configuration.keyValueWidth)
    let count = spans.spans.reduce(0) { $0 + $1.rows.count * AttentionPages.padded($1.rows.count) }
    let (q, k) = (arena.matrix(x.rows, wide), arena.matrix(x.rows, narrow))
    let tape = Tape(
      rawQ: queryNorm == nil ? q : arena.matrix(x.rows, wide),
      rawK: keyNorm == nil ? k : arena.matrix(x.rows, narrow), q: q, k: k, v: arena.matrix(x.rows, narrow),
      context: arena.matrix(x.rows, wide),
      inverseQ: arena.floats(queryNorm == nil ? 0 : x.rows * configuration.heads),
      inverseK: arena.floats(keyNorm == nil ? 0 : x.rows * configuration.keyValueHeads),
      probabilities: arena.floats(count * configuration.heads))
    Projection.forward(
      x, patch: patch, arena: arena, into: (query, tape.rawQ), (key, tape.rawK), (value, tape.v))
    queryNorm?.forward(
      RMSNorm.heads(tape.rawQ, size: size), into: RMSNorm.heads(q, size: size), inverse: tape.inverseQ)
    keyNorm?.forward(
      RMSNorm.heads(tape.rawK, size: size), into: RMSNorm.heads(k, size: size), inverse: tape.inverseK)
    Elementwise.rotate(q, cosines: spans.cosines, sines: spans.sines)
    Elementwise.rotate(k, cosines: spans.cosines, sines: spans.sines)
    for span in spans.spans { store(k, tape.v, span.rows, span, spans) }
    eachHead(spans, tape) { span, head, probabilities in
      probabilities.fill(0)
      let layout = pages(span, spans, head: head / group)
      for start in stride(from: 0, to: span.rows.count, by: Self.rowBlock) {
        let end = min(start + Self.rowBlock, span.rows.count)
        attend(
          span, start..<end, q, head: head, span.pages.map { UnsafeRawPointer($0) }, layout,
          probabilities: probabilities.rows(start..<end), into: tape.context)
      }
    }
    Projection.forward(tape.context, patch: patch, arena: arena, into: (output, y))
    return tape
  }

  /// Overwrites `dX`, the gradient at X. `dX` nil: only the gradients of adapted sites are wanted.
  func backward(
    _ dY: MatrixView, input x: MatrixView, tape: Tape, spans: AttentionSpans, patch: any ProjectionPatch,
    arena: Arena, into dX: MatrixView?
  ) {
    // At the lowest adapted layer a gradient is only wanted where an adapter sits.
    let wanted = [query, key, value].map { dX != nil || patch.adapts($0.site.index) }
    guard wanted.contains(true) else {
      output.backward(
        dY, input: tape.context, patch: patch, arena: arena, accumulate: false, into: nil)
      return
    }
    arena.scope {
      let dContext = arena.matrix(x.rows, tape.context.columns)
      output.backward(
        dY, input: tape.context, patch: patch, arena: arena, accumulate: false, into: dContext)
      let dQ = arena.matrix(x.rows, tape.q.columns)
      let dK = arena.matrix(x.rows, tape.k.columns)
      let dV = arena.matrix(x.rows, tape.v.columns)
      eachHead(spans, tape) { span, head, probabilities in
        let (rows, shared, sums) = (span.rows, head / group, head % group > 0)
        let p = probabilities.columns(0..<rows.count)
        let dHead = part(dContext, rows, head)
        if wanted[2] { Products.tn(p, dHead, accumulate: sums, into: part(dV, rows, shared)) }
        guard wanted[0] || wanted[1] else { return }
        arena.scope {
          let dScores = arena.matrix(rows.count, rows.count)
          Products.nt(dHead, part(tape.v, rows, shared), into: dScores)
          Elementwise.softmaxBackward(dScores, output: p, scale: scale, into: dScores)
          if wanted[0] { Products.nn(dScores, part(tape.k, rows, shared), into: part(dQ, rows, head)) }
          if wanted[1] {
            Products.tn(dScores, part(tape.q, rows, head), accumulate: sums, into: part(dK, rows, shared))
          }
        }
      }
      if wanted[0] { turnBack(dQ, raw: tape.rawQ, queryNorm, tape.inverseQ, spans) }
      if wanted[1] { turnBack(dK, raw: tape.rawK, keyNorm, tape.inverseK, spans) }
      var accumulates = false
      for (projection, gradient) in [(query, dQ), (key, dK), (value, dV)] {
        projection.backward(
          gradient, input: x, patch: patch, arena: arena, accumulate: accumulates, into: dX)
        accumulates = true
      }
    }
  }

  /// d = the gradient before turn and norm.
  private func turnBack(
    _ d: MatrixView, raw: MatrixView, _ norm: RMSNorm?, _ inverse: UnsafePointer<Float>,
    _ spans: AttentionSpans
  ) {
    Elementwise.rotate(d, cosines: spans.cosines, sines: spans.sines, inverse: true)
    let heads = RMSNorm.heads(d, size: size)
    norm?.backward(
      heads, input: RMSNorm.heads(raw, size: size), inverse: inverse, accumulate: false, into: heads)
  }

  private func part(_ m: MatrixView, _ rows: Range<Int>, _ head: Int) -> MatrixView {
    m.rows(rows).columns(head * size..<(head + 1) * size)
  }

  private func eachHead(
    _ spans: AttentionSpans, _ tape: Tape,
    _ body: (_ span: AttentionSpan, _ head: Int, _ probabilities: MatrixView) -> Void
  ) {
    var next = tape.probabilities
    for span in spans.spans {
      let stride = AttentionPages.padded(span.rows.count)
      for head in 0..<configuration.heads {
        body(span, head, MatrixView(base: next, rows: span.rows.count, columns: stride, stride: stride))
        next += span.rows.count * stride
      }
    }
  }
}
