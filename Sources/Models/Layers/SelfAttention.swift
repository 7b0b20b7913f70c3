internal import Tensors

/// Attention of every token of a sequence to every other, head by head.
///
///     q, k, v = X·Wᵀ + b each                                   X, q, k, v, context [T, D]
///     P = softmax(q_h·k_hᵀ / √d),  context_h = P·v_h             per sequence of n tokens and head of d columns, P [n, n]
///     Y = context·Woᵀ + bo
///
/// Backward, from dContext:
///
///     dv_h = Pᵀ·dc_h,  dP = dc_h·v_hᵀ,  dS = P⊙(dP − Σ dP⊙P)/√d,  dq_h = dS·k_h,  dk_h = dSᵀ·q_h
struct SelfAttention: Sendable {
  let query: Projection
  let key: Projection
  let value: Projection
  let output: Projection
  private let heads: Int

  /// What backward needs. Probabilities lie sequence after sequence, head after head, each `[n, n]`.
  struct Tape {
    let q: MatrixView
    let k: MatrixView
    let v: MatrixView
    let context: MatrixView
    let probabilities: UnsafeMutablePointer<Float>
  }

  init(
    layer: Int, _ sites: ArraySlice<Site>, heads: Int, _ weights: WeightMap, as element: PackedElement
  ) throws(ModelError) {
    let first = sites.startIndex
    query = try Projection(sites[first], weights, as: element)
    key = try Projection(sites[first + 1], weights, as: element)
    value = try Projection(sites[first + 2], weights, as: element)
    output = try Projection(sites[first + 3], weights, as: element)
    self.heads = heads
  }

  var residentBytes: Int {
    query.residentBytes + key.residentBytes + value.residentBytes + output.residentBytes
  }

  /// Overwrites `y`, before the residual sum. Scratch: 4·T·D, and n² of the longest sequence.
  func forward(
    _ x: MatrixView, batch: PackedBatch, patch: (any ProjectionPatch)?, arena: Arena, into y: MatrixView
  ) {
    arena.scope {
      let q = arena.matrix(x.rows, x.columns)
      let k = arena.matrix(x.rows, x.columns)
      let v = arena.matrix(x.rows, x.columns)
      arena.scope {
        Projection.forward(x, patch: patch, arena: arena, into: (query, q), (key, k), (value, v))
      }
      // The context takes the place of q: a head's q is read before its context is written.
      let context = q
      arena.scope {
        for sequence in 0..<batch.count {
          attend(batch.rows(of: sequence), q, k, v, scratch: arena, into: context)
        }
      }
      arena.scope { Projection.forward(context, patch: patch, arena: arena, into: (output, y)) }
    }
  }

  private func attend(
    _ rows: Range<Int>, _ q: MatrixView, _ k: MatrixView, _ v: MatrixView, scratch: Arena,
    into context: MatrixView
  ) {
    scratch.scope {
      let probabilities = scratch.matrix(rows.count, rows.count)
      for head in 0..<heads {
        let columns = columns(of: head, x: q)
        weigh(q, k, rows, columns, into: probabilities)
        Products.nn(probabilities, part(v, rows, columns), into: part(context, rows, columns))
      }
    }
  }

  /// The same as `forward`, keeping what backward needs; memory comes from `arena` and stays.
  func forwardForTraining(
    _ x: MatrixView, batch: PackedBatch, patch: any ProjectionPatch, arena: Arena, into y: MatrixView
  ) -> Tape {
    let squares = (0..<batch.count).reduce(0) { $0 + batch.rows(of: $1).count * batch.rows(of: $1).count }
    let tape = Tape(
      q: arena.matrix(x.rows, x.columns), k: arena.matrix(x.rows, x.columns),
      v: arena.matrix(x.rows, x.columns), context: arena.matrix(x.rows, x.columns),
      probabilities: arena.floats(squares * heads))
    Projection.forward(
      x, patch: patch, arena: arena, into: (query, tape.q), (key, tape.k), (value, tape.v))
    eachHead(batch, tape) { rows, columns, probabilities in
      weigh(tape.q, tape.k, rows, columns, into: probabilities)
      Products.nn(probabilities, part(tape.v, rows, columns), into: part(tape.context, rows, columns))
    }
    Projection.forward(tape.context, patch: patch, arena: arena, into: (output, y))
    return tape
  }

  /// Adds to `dX`, the gradient at X. `dX` nil: only the gradients of adapted sites are wanted.
  func backward(
    _ dY: MatrixView, input x: MatrixView, tape: Tape, batch: PackedBatch, patch: any ProjectionPatch,
    arena: Arena, into dX: MatrixView?
  ) {
    let adapted = [query, key, value].map { patch.adapts($0.site.index) }
    guard dX != nil || adapted.contains(true) else {
      output.backward(
        dY, input: tape.context, patch: patch, arena: arena, accumulate: false, into: nil)
      return
    }
    arena.scope {
      let dContext = arena.matrix(x.rows, x.columns)
      output.backward(
        dY, input: tape.context, patch: patch, arena: arena, accumulate: false, into: dContext)
      let dQ = arena.matrix(x.rows, x.columns)
      let dK = arena.matrix(x.rows, x.columns)
      let dV = arena.matrix(x.rows, x.columns)
      // At the lowest adapted layer a gradient is only wanted where an adapter sits.
      let wanted = adapted.map { dX != nil || $0 }
      eachHead(batch, tape) { rows, columns, probabilities in
        let dHead = part(dContext, rows, columns)
        if wanted[2] { Products.tn(probabilities, dHead, into: part(dV, rows, columns)) }
        guard wanted[0] || wanted[1] else { return }
        arena.scope {
          let dScores = arena.matrix(rows.count, rows.count)
          Products.nt(dHead, part(tape.v, rows, columns), into: dScores)
          Elementwise.softmaxBackward(
            dScores, output: probabilities, scale: scale(columns), into: dScores)
          if wanted[0] { Products.nn(dScores, part(tape.k, rows, columns), into: part(dQ, rows, columns)) }
          if wanted[1] { Products.tn(dScores, part(tape.q, rows, columns), into: part(dK, rows, columns)) }
        }
      }
      for (projection, gradient) in [(query, dQ), (key, dK), (value, dV)] {
        projection.backward(
          gradient, input: x, patch: patch, arena: arena, accumulate: true, into: dX)
      }
    }
  }

  /// P = softmax(q_h·k_hᵀ/√d) of one sequence and head.
  private func weigh(
    _ q: MatrixView, _ k: MatrixView, _ rows: Range<Int>, _ columns: Range<Int>, into p: MatrixView
  ) {
    Products.nt(part(q, rows, columns), part(k, rows, columns), into: p)
    Elementwise.softmax(p, scale: scale(columns), into: p)
  }

  private func scale(_ columns: Range<Int>) -> Float { 1 / Float(columns.count).squareRoot() }

  private func columns(of head: Int, x: MatrixView) -> Range<Int> {
    let size = x.columns / heads
    return head * size..<(head + 1) * size
  }

  private func part(_ m: MatrixView, _ rows: Range<Int>, _ columns: Range<Int>) -> MatrixView {
    m.rows(rows).columns(columns)
  }

  private func eachHead(
    _ batch: PackedBatch, _ tape: Tape,
    _ body: (_ rows: Range<Int>, _ columns: Range<Int>, _ probabilities: MatrixView) -> Void
  ) {
    var next = tape.probabilities
    for sequence in 0..<batch.count {
      let rows = batch.rows(of: sequence)
      for head in 0..<heads {
        let square = MatrixView(base: next, rows: rows.count, columns: rows.count, stride: rows.count)
        body(rows, columns(of: head, x: tape.q), square)
        next += rows.count * rows.count
      }
    }
  }
}
