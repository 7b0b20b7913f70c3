internal import Adapters
internal import Models
internal import Tensors

/// Parameters with one learning rate.
enum ParameterGroup: Sendable {
  case coefficients, basis, head
}

/// Where each trained tensor stands in the flat buffer. A's come first, in site order without gaps, so that sites with
/// one input stack; then B's; then the head.
struct ParameterLayout: Sendable {
  struct Tensor: Sendable {
    let name: String
    let group: ParameterGroup
    let offset: Int
    let rows: Int
    let columns: Int
    let decays: Bool
    var range: Range<Int> { offset..<offset + rows * columns }
  }

  private(set) var tensors: [Tensor] = []
  private(set) var count = 0
  /// By site index, positions in `tensors`.
  private(set) var coefficients: [Int?]
  private(set) var bases: [Int?]
  private(set) var dense: (weight: Int, bias: Int)?
  private(set) var linear: (weight: Int, bias: Int)?
  /// The buffer's values at the start.
  private(set) var initial: [Float] = []

  /// - Parameters:
  ///   - updates: the factors at the start, by site index; a nil `privateBasis` is the shared one.
  ///   - head: the head at the start.
  init(sites: [Site], updates: [Int: SiteUpdate], head: Head, decaysBasis: Bool) {
    coefficients = Array(repeating: nil, count: sites.count)
    bases = coefficients
    for site in sites.indices {
      guard let a = updates[site]?.coefficients else { continue }
      coefficients[site] = add("\(sites[site].name).A", .coefficients, a, decays: true)
    }
    for site in sites.indices {
      guard let b = updates[site]?.privateBasis else { continue }
      bases[site] = add("\(sites[site].name).B", .basis, b, decays: decaysBasis)
    }
    if let layer = head.dense { dense = add("head.dense", layer) }
    if let layer = head.linear { linear = add("head.linear", layer) }
  }

  private mutating func add(_ name: String, _ layer: DenseLayer) -> (weight: Int, bias: Int) {
    let bias = Matrix(rows: 1, columns: layer.bias.count, values: layer.bias)
    return (
      add("\(name).weight", .head, layer.weight, decays: true),
      add("\(name).bias", .head, bias, decays: false)
    )
  }

  private mutating func add(
    _ name: String, _ group: ParameterGroup, _ matrix: Matrix, decays: Bool
  ) -> Int {
    tensors.append(
      Tensor(
        name: name, group: group, offset: count, rows: matrix.rows, columns: matrix.columns, decays: decays))
    count += matrix.values.count
    initial += matrix.values
    return tensors.count - 1
  }

  /// A tensor's values out of the flat buffer.
  func matrix(_ index: Int, _ values: [Float]) -> Matrix {
    let tensor = tensors[index]
    return Matrix(rows: tensor.rows, columns: tensor.columns, values: Array(values[tensor.range]))
  }

  func layer(_ indices: (weight: Int, bias: Int)?, _ values: [Float]) -> DenseLayer? {
    guard let indices else { return nil }
    return DenseLayer(weight: matrix(indices.weight, values), bias: matrix(indices.bias, values).values)
  }
}
