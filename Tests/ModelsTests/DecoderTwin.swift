import Foundation
import Models

extension DoubleGraph {
  /// X⊙Z.
  func multiply(_ x: Node, _ z: Node) -> Node {
    record(x.rows, x.columns, zip(x.values, z.values).map { $0 * $1 }) { out in
      for i in out.gradient.indices {
        x.gradient[i] += out.gradient[i] * z.values[i]
        z.gradient[i] += out.gradient[i] * x.values[i]
      }
    }
  }

  /// x/√(mean(x²) + ε)⊙gain of each row.
  func rootNorm(_ x: Node, gain: [Double], epsilon: Double) -> Node {
    let n = x.columns
    let inverse = (0..<x.rows).map { row -> Double in
      let squares = x.values[row * n..<(row + 1) * n].reduce(0.0) { $0 + $1 * $1 }
      return 1 / (squares / Double(n) + epsilon).squareRoot()
    }
    let y = x.values.indices.map { x.values[$0] * inverse[$0 / n] * gain[$0 % n] }
    return record(x.rows, n, y) { out in
      for row in 0..<x.rows {
        let places = row * n..<(row + 1) * n
        let inner = places.reduce(0.0) { $0 + out.gradient[$1] * gain[$1 % n] * x.values[$1] }
        let along = pow(inverse[row], 3) * inner / Double(n)
        for j in places {
          x.gradient[j] += out.gradient[j] * gain[j % n] * inverse[row] - x.values[j] * along
        }
      }
    }
  }

  /// Each row times its own matrix of a fixed linear map, given as (column, factor) pairs by output column.
  func mix(_ x: Node, _ map: @escaping (_ row: Int, _ column: Int) -> [(Int, Double)]) -> Node {
    let n = x.columns
    let y = x.values.indices.map { index in
      map(index / n, index % n).reduce(0.0) { $0 + x.values[index / n * n + $1.0] * $1.1 }
    }
    return record(x.rows, n, y) { out in
      for index in y.indices {
        for (column, factor) in map(index / n, index % n) {
          x.gradient[index / n * n + column] += out.gradient[index] * factor
        }
      }
    }
  }
}

/// The decoder in Double, straight from the checkpoint's tensors, with factors A and B at some sites; plain rotary
/// positions.
struct TwinDecoder {
  let configuration: DecoderConfiguration
  /// By the checkpoint's names.
  let tensors: [String: [Double]]

  func forward(_ batch: PackedBatch, _ factors: TwinEncoder.Factors, _ graph: DoubleGraph) -> DoubleGraph.Node
  {
    let width = configuration.hiddenSize
    let table = tensor("model.embed_tokens.weight")
    var x = DoubleGraph.Node(
      rows: batch.rows, columns: width,
      values: batch.ids.flatMap { Array(table[Int($0) * width..<(Int($0) + 1) * width]) })
    let sites = Site.all(of: configuration)
    for layer in 0..<configuration.layers {
      let own = Array(sites[layer * 7..<layer * 7 + 7])
      let block = "model.layers.\(layer)."
      let input = norm(x, block + "input_layernorm.weight", graph)
      let attended = attend(batch, own, input, layer, factors, graph)
      let middle = graph.add(x, project(own[3], attended, factors, graph))
      let normed = norm(middle, block + "post_attention_layernorm.weight", graph)
      let share = { (x: Double) in 1 / (1 + exp(-x)) }
      let gate = graph.map(
        project(own[4], normed, factors, graph), { $0 * share($0) },
        { share($0) * (1 + $0 * (1 - share($0))) })
      let inner = graph.multiply(gate, project(own[5], normed, factors, graph))
      x = graph.add(middle, project(own[6], inner, factors, graph))
    }
    return norm(x, "model.norm.weight", graph)
  }

  private func attend(
    _ batch: PackedBatch, _ sites: [Site], _ x: DoubleGraph.Node, _ layer: Int,
    _ factors: TwinEncoder.Factors,
    _ graph: DoubleGraph
  ) -> DoubleGraph.Node {
    let (size, group) = (configuration.headSize, configuration.heads / configuration.keyValueHeads)
    let q = project(sites[0], x, factors, graph)
    let k = project(sites[1], x, factors, graph)
    let v = project(sites[2], x, factors, graph)
    var parts: [(node: DoubleGraph.Node, row: Int, column: Int)] = []
    for sequence in 0..<batch.count {
      let rows = batch.rows(of: sequence)
      let n = rows.count
      var mask = [Double](repeating: 0, count: n * n)
      for i in 0..<n {
        for j in 0..<n where j > i || i - j >= configuration.windows[layer] ?? n { mask[i * n + j] = -1e30 }
      }
      for head in 0..<configuration.heads {
        let shared = head / group * size..<(head / group + 1) * size
        let query = turned(
          graph.part(q, rows: rows, columns: head * size..<(head + 1) * size), layer, "q_norm", graph)
        let key = turned(graph.part(k, rows: rows, columns: shared), layer, "k_norm", graph)
        let scale = 1 / Double(size).squareRoot()
        let scores = graph.map(graph.multiplyTransposed(query, key), { $0 * scale }, { _ in scale })
        let weights = graph.softmax(
          graph.add(scores, DoubleGraph.Node(rows: n, columns: n, values: mask)))
        let context = graph.multiplyTransposed(
          weights, graph.transposed(graph.part(v, rows: rows, columns: shared)))
        parts.append((context, rows.lowerBound, head * size))
      }
    }
    return graph.assemble(parts, rows: batch.rows, columns: configuration.queryWidth)
  }

  private func turned(
    _ x: DoubleGraph.Node, _ layer: Int, _ name: String, _ graph: DoubleGraph
  ) -> DoubleGraph.Node {
    var x = x
    if configuration.normsHeads { x = norm(x, "model.layers.\(layer).self_attn.\(name).weight", graph) }
    let half = configuration.headSize / 2
    let theta = configuration.rotary.theta
    return graph.mix(x) { row, column in
      let pair = column % half
      let angle = Double(row) / pow(theta, Double(pair) / Double(half))
      return column < half
        ? [(pair, cos(angle)), (half + pair, -sin(angle))] : [(half + pair, cos(angle)), (pair, sin(angle))]
    }
  }

  private func tensor(_ name: String) -> [Double] { tensors[name] ?? [] }

  private func norm(_ x: DoubleGraph.Node, _ name: String, _ graph: DoubleGraph) -> DoubleGraph.Node {
    graph.rootNorm(x, gain: tensor(name), epsilon: Double(configuration.rmsNormEpsilon))
  }

  private func project(
    _ site: Site, _ x: DoubleGraph.Node, _ factors: TwinEncoder.Factors, _ graph: DoubleGraph
  ) -> DoubleGraph.Node {
    let weight = DoubleGraph.Node(
      rows: site.outputs, columns: site.inputs, values: tensor(site.name + ".weight"))
    var y = graph.multiplyTransposed(x, weight)
    if site.hasBias {
      y = graph.add(
        y, DoubleGraph.Node(rows: 1, columns: site.outputs, values: tensor(site.name + ".bias")))
    }
    guard let a = factors.a[site.index], let b = factors.b[site.index] else { return y }
    return graph.add(y, graph.multiplyTransposed(graph.multiplyTransposed(x, a), b))
  }
}
