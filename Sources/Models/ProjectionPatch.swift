public import Tensors

/// What adapters do at a model's projections. Called on one lane by one thread.
///
/// At a site the model computes `Y = X·Wᵀ + bias + Z·Bᵀ`, where Z and B come from `shrink`, then calls `expand`.
/// Memory that the patch takes from the arena in `prepare` and `shrink` lives until the group's last `expand` in
/// `forward`, and until the caller's scope ends in `forwardForTraining`.
public protocol ProjectionPatch: AnyObject {
  /// Z `[rows, r]` and the packed B `[outputs, ≥ r]` of the shared columns, nil when no row uses them here.
  func shrink(_ site: Int, input: MatrixView, arena: Arena) -> (z: MatrixView, columns: PackedWeights)?

  /// Announces sites that read the same input, before `shrink` of each; one product may serve them all.
  func prepare(_ sites: Range<Int>, input: MatrixView, arena: Arena)

  /// After Y is written: rows with a B of their own accumulate their product.
  func expand(_ site: Int, output: MatrixView, arena: Arena)

  /// False spares the site every other call.
  func adapts(_ site: Int) -> Bool

  /// The backward pass ends there; nil when no site is adapted.
  var lowestAdaptedLayer: Int? { get }

  /// Accumulates the gradients of this site's A and B inside the patch. `dInput` holds dY·W already and gains
  /// dZ·A; nil when nobody needs it.   dOutput `[rows, outputs]`, input and dInput `[rows, inputs]`.
  func backward(
    _ site: Int, dOutput: MatrixView, input: MatrixView, dInput: MatrixView?, arena: Arena)
}

extension ProjectionPatch {
  public func prepare(_ sites: Range<Int>, input: MatrixView, arena: Arena) {}
}
