internal import Safetensors
internal import Tensors

/// Frozen floats with an address that stays: biases and norms are read by kernels during the model's whole life.
// SAFETY: written by init alone, read-only afterwards, freed by deinit after the last reference.
final class FrozenVector: @unchecked Sendable {
  let base: UnsafeMutablePointer<Float>
  let count: Int

  init(_ values: [Float]) {
    count = values.count
    base = .allocate(capacity: max(values.count, 1))
    base.update(from: values, count: values.count)
  }

  deinit { base.deallocate() }
}

/// A frozen projection with what a patch adds.
///
///     Y = X·Wᵀ + b + Z·Bᵀ          forward;  X [T, dIn], W [dOut, dIn], Y [T, dOut], Z [T, r], B [dOut, r]
///     dX (+)= dY·W + dZ·A          backward; the patch keeps dA and dB, W and b have no gradient
struct Projection: Sendable {
  let site: Site
  let weight: PackedWeights
  let bias: FrozenVector?

  /// Packs W out of the mapping and gives its pages back.
  init(_ site: Site, _ weights: WeightMap, as element: PackedElement = .float32) throws(ModelError) {
    self.site = site
    weight = try weights.packed(site.name + ".weight", as: element)
    bias = site.hasBias ? FrozenVector(try weights.floats(site.name + ".bias")) : nil
  }

  var residentBytes: Int { weight.residentBytes + (bias?.count ?? 0) * MemoryLayout<Float>.stride }

  /// Projections of one input whose sites lie side by side, each into its own output; overwrites them.
  static func forward(
    _ x: MatrixView, patch: (any ProjectionPatch)?, arena: Arena, into outputs: (Projection, MatrixView)...
  ) {
    if let patch, outputs.contains(where: { patch.adapts($0.0.site.index) }) {
      let first = outputs[0].0.site.index
      patch.prepare(first..<first + outputs.count, input: x, arena: arena)
    }
    for (projection, y) in outputs { projection.forward(x, patch: patch, arena: arena, into: y) }
  }

  /// Overwrites `y`. The patch has been told of `x` by `prepare` before.
  private func forward(_ x: MatrixView, patch: (any ProjectionPatch)?, arena: Arena, into y: MatrixView) {
    guard let patch, patch.adapts(site.index) else {
      weight.multiply(
        x, bias: bias.map { UnsafePointer($0.base) }, extra: nil, accumulate: false, crew: arena.crew, into: y
      )
      return
    }
    let extra = patch.shrink(site.index, input: x, arena: arena)
    weight.multiply(
      x, bias: bias.map { UnsafePointer($0.base) }, extra: extra, accumulate: false, crew: arena.crew, into: y
    )
    patch.expand(site.index, output: y, arena: arena)
  }

  /// Overwrites `dX` or adds to it; nil where nobody below needs it.
  func backward(
    _ dY: MatrixView, input x: MatrixView, patch: any ProjectionPatch, arena: Arena, accumulate: Bool,
    into dX: MatrixView?
  ) {
    if let dX { weight.multiplyTransposed(dY, accumulate: accumulate, into: dX) }
    if patch.adapts(site.index) {
      arena.scope {
        patch.backward(site.index, dOutput: dY, input: x, dInput: dX, arena: arena)
      }
    }
  }
}
