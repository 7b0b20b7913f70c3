internal import Tensors

/// The two projections of a block around its activation.
///
///     u = X·Wiᵀ + bi,  a = f(u),  Y = a·Woᵀ + bo               X, Y [T, D], u, a [T, I]
///     da = dY·Wo,  du = da⊙f′(u),  dX += du·Wi                  backward
struct FeedForward: Sendable {
  let intermediate: Projection
  let output: Projection
  private let activation: Elementwise.Activation

  /// What backward needs.
  struct Tape {
    let preactivation: MatrixView
    let activated: MatrixView
  }

  init(
    _ sites: ArraySlice<Site>, activation: EncoderActivation, _ weights: WeightMap, as element: PackedElement
  ) throws(ModelError) {
    intermediate = try Projection(sites[sites.startIndex + 4], weights, as: element)
    output = try Projection(sites[sites.startIndex + 5], weights, as: element)
    self.activation =
      switch activation {
      case .gelu: .gelu
      case .geluTanh: .geluTanh
      case .relu: .relu
      }
  }

  var residentBytes: Int { intermediate.residentBytes + output.residentBytes }

  /// Overwrites `y`, before the residual sum. Scratch: T·I.
  func forward(_ x: MatrixView, patch: (any ProjectionPatch)?, arena: Arena, into y: MatrixView) {
    arena.scope {
      let u = arena.matrix(x.rows, intermediate.site.outputs)
      arena.scope { Projection.forward(x, patch: patch, arena: arena, into: (intermediate, u)) }
      Elementwise.activate(activation, u, into: u)
      arena.scope { Projection.forward(u, patch: patch, arena: arena, into: (output, y)) }
    }
  }

  /// The same as `forward`, keeping what backward needs; memory comes from `arena` and stays.
  func forwardForTraining(
    _ x: MatrixView, patch: any ProjectionPatch, arena: Arena, into y: MatrixView
  ) -> Tape {
    let tape = Tape(
      preactivation: arena.matrix(x.rows, intermediate.site.outputs),
      activated: arena.matrix(x.rows, intermediate.site.outputs))
    Projection.forward(x, patch: patch, arena: arena, into: (intermediate, tape.preactivation))
    Elementwise.activate(activation, tape.preactivation, into: tape.activated)
    Projection.forward(tape.activated, patch: patch, arena: arena, into: (output, y))
    return tape
  }

  /// Adds to `dX`, the gradient at X. `dX` nil: only the gradients of adapted sites are wanted.
  func backward(
    _ dY: MatrixView, input x: MatrixView, tape: Tape, patch: any ProjectionPatch, arena: Arena,
    into dX: MatrixView?
  ) {
    guard dX != nil || patch.adapts(intermediate.site.index) else {
      output.backward(
        dY, input: tape.activated, patch: patch, arena: arena, accumulate: false, into: nil)
      return
    }
    arena.scope {
      let dU = arena.matrix(x.rows, intermediate.site.outputs)
      output.backward(
        dY, input: tape.activated, patch: patch, arena: arena, accumulate: false, into: dU)
      Elementwise.activateBackward(activation, dU, saved: tape.preactivation, into: dU)
      intermediate.backward(dU, input: x, patch: patch, arena: arena, accumulate: true, into: dX)
    }
  }
}
