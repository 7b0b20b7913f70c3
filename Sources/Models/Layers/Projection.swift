internal import Safetensors
internal import Tensors

/// Frozen floats with an address that stays: biases and norms are read by kernels during the encoder's whole life.
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
  let bias: FrozenVector

  /// Packs W out of the mapping and gives its pages back.
  init(_ site: Site, _ weights: WeightMap) throws(ModelError) {
    self.site = site
    let entry = try weights.entry(site.name + ".weight")
    weight = PackedWeights(
      Matrix(rows: site.outputs, columns: site.inputs, values: try weights.floats(entry)))
    weights.file.releasePages(of: entry)
    let biasEntry = try weights.entry(site.name + ".bias")
    bias = FrozenVector(try weights.floats(biasEntry))
  }

  var residentBytes: Int { weight.residentBytes + bias.count * MemoryLayout<Float>.stride }

  /// Overwrites `y`. The patch has been told of `x` by `prepare` before.
  func forward(_ x: MatrixView, patch: (any ProjectionPatch)?, arena: Arena, into y: MatrixView) {
    guard let patch, patch.adapts(site.index) else {
      weight.multiply(x, bias: bias.base, extra: nil, accumulate: false, into: y)
      return
    }
    let extra = patch.shrink(site.index, input: x, arena: arena)
    weight.multiply(x, bias: bias.base, extra: extra, accumulate: false, into: y)
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
