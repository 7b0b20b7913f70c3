internal import Tensors

/// The gated half of a decoder's block.
///
///     g = X·Wgᵀ (+ bg),  u = X·Wuᵀ (+ bu),  a = g·σ(g)⊙u,  Y = a·Wdᵀ (+ bd)        X [T, D], g, u, a [T, I]
///
/// Backward: da = dY·Wd,  du = da⊙g·σ,  dg = da⊙u⊙σ(1 + g(1 − σ)),  dX = dg·Wg + du·Wu.
struct GatedFeedForward: Sendable {
  let gate: Projection
  let up: Projection
  let down: Projection

  /// What backward needs.
  struct Tape {
    let gate: MatrixView
    let up: MatrixView
    let activated: MatrixView
  }

  init(
    _ sites: ArraySlice<Site>, _ weights: WeightMap, as element: PackedElement
  ) throws(ModelError) {
    let first = sites.startIndex + 4
    gate = try Projection(sites[first], weights, as: element)
    up = try Projection(sites[first + 1], weights, as: element)
    down = try Projection(sites[first + 2], weights, as: element)
  }

  var residentBytes: Int { gate.residentBytes + up.residentBytes + down.residentBytes }

  /// Overwrites `y`, before the residual sum. Scratch: 2·T·I.
  func forward(_ x: MatrixView, patch: (any ProjectionPatch)?, arena: Arena, into y: MatrixView) {
    arena.scope {
      let g = arena.matrix(x.rows, gate.site.outputs)
      let u = arena.matrix(x.rows, gate.site.outputs)
      arena.scope { Projection.forward(x, patch: patch, arena: arena, into: (gate, g), (up, u)) }
      arena.shareRows(x.rows) { rows in
        Elementwise.swiGLU(gate: g.rows(rows), up: u.rows(rows), into: g.rows(rows))
      }
      arena.scope { Projection.forward(g, patch: patch, arena: arena, into: (down, y)) }
    }
  }

  /// The same as `forward`, keeping what backward needs; memory comes from `arena` and stays.
  func forwardForTraining(
    _ x: MatrixView, patch: any ProjectionPatch, arena: Arena, into y: MatrixView
  ) -> Tape {
    let inner = gate.site.outputs
    let tape = Tape(
      gate: arena.matrix(x.rows, inner), up: arena.matrix(x.rows, inner),
      activated: arena.matrix(x.rows, inner))
    Projection.forward(x, patch: patch, arena: arena, into: (gate, tape.gate), (up, tape.up))
    Elementwise.swiGLU(gate: tape.gate, up: tape.up, into: tape.activated)
    Projection.forward(tape.activated, patch: patch, arena: arena, into: (down, y))
    return tape
  }

  /// Overwrites `dX`, the gradient at X. `dX` nil: only the gradients of adapted sites are wanted.
  func backward(
    _ dY: MatrixView, input x: MatrixView, tape: Tape, patch: any ProjectionPatch, arena: Arena,
    into dX: MatrixView?
  ) {
    guard dX != nil || patch.adapts(gate.site.index) || patch.adapts(up.site.index) else {
      down.backward(
        dY, input: tape.activated, patch: patch, arena: arena, accumulate: false, into: nil)
      return
    }
    arena.scope {
      let dGate = arena.matrix(x.rows, gate.site.outputs)
      let dUp = arena.matrix(x.rows, gate.site.outputs)
      down.backward(
        dY, input: tape.activated, patch: patch, arena: arena, accumulate: false, into: dGate)
      Elementwise.swiGLUBackward(dGate, gate: tape.gate, up: tape.up, into: dGate, dUp)
      gate.backward(dGate, input: x, patch: patch, arena: arena, accumulate: false, into: dX)
      up.backward(dUp, input: x, patch: patch, arena: arena, accumulate: true, into: dX)
    }
  }
}
