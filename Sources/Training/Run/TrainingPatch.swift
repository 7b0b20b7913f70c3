internal import Adapters
internal import Models
internal import Tensors

/// The adapter under training, one shard's rows at a time.
///
///     Z = s·X·Aᵀ,   Y = X·Wᵀ + Z·Bᵀ
///     dZ = dY·B,   dX += s·dZ·A,   dA += s·dZᵀ·X,   dB += dYᵀ·Z  (where B trains)
///
/// A is unfolded: s stands in the products. One shard, one lane.
final class TrainingPatch: ProjectionPatch {
  private let context: StepContext
  /// A shard's gradient buffer, laid out as the parameters; nil when nothing is differentiated.
  private let gradients: UnsafeMutablePointer<Float>?
  private var z: [MatrixView?]

  init(_ context: StepContext, gradients: UnsafeMutablePointer<Float>?) {
    self.context = context
    self.gradients = gradients
    z = Array(repeating: nil, count: context.columns.count)
  }

  func adapts(_ site: Int) -> Bool { context.columns[site] != nil }

  var lowestAdaptedLayer: Int? {
    context.base.sites.filter { adapts($0.index) }.map(\.layer).min()
  }

  /// The sites of a range that read one input shrink in one product: their A's stand one above the other.
  func prepare(_ sites: Range<Int>, input: MatrixView, arena: Arena) {
    let members = sites.filter { adapts($0) && z[$0] == nil }
    let tensors = members.compactMap { context.layout.coefficients[$0] }
    guard let first = tensors.first else { return }
    let layout = context.layout.tensors
    let rank = tensors.reduce(0) { $0 + layout[$1].rows }
    let stacked = context.parameters.matrix(
      at: layout[first].offset, rows: rank, columns: layout[first].columns)
    let wide = arena.matrix(input.rows, rank)
    Products.nt(input, stacked, scale: context.scale, into: wide)
    var offset = 0
    for (site, tensor) in zip(members, tensors) {
      z[site] = wide.columns(offset..<offset + layout[tensor].rows)
      offset += layout[tensor].rows
    }
  }

  func shrink(
    _ site: Int, input: MatrixView, arena: Arena
  ) -> (z: MatrixView, columns: PackedWeights)? {
    guard let columns = context.columns[site] else { return nil }
    if z[site] == nil { prepare(site..<site + 1, input: input, arena: arena) }
    guard let result = z[site] else { return nil }
    z[site] = nil
    return (result, columns)
  }

  /// All rows use one B, so the dense product has done it.
  func expand(_ site: Int, output: MatrixView, arena: Arena) {}

  func backward(
    _ site: Int, dOutput: MatrixView, input: MatrixView, dInput: MatrixView?, arena: Arena
  ) {
    guard let gradients, let columns = context.columns[site],
      let coefficients = context.layout.coefficients[site]
    else { return }
    let (layout, scale) = (context.layout.tensors, context.scale)
    let a = context.view(coefficients)
    arena.scope {
      let dZ = arena.matrix(dOutput.rows, a.rows)
      columns.multiplyTransposed(dOutput, accumulate: false, into: dZ)
      Products.tn(dZ, input, scale: scale, accumulate: true, into: layout[coefficients].view(gradients))
      if let dInput { Products.nn(dZ, a, scale: scale, accumulate: true, into: dInput) }
      if let basis = context.layout.bases[site] {
        Products.nt(input, a, scale: scale, into: dZ)
        Products.tn(dOutput, dZ, accumulate: true, into: layout[basis].view(gradients))
      }
    }
  }
}
