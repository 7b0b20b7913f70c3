import Foundation
import Models

/// Reverse-mode differentiation of small matrices in Double: the slow twin of the models. It knows a few operations,
/// each with its own derivative, and nothing of the models' hand-written backward passes.
final class DoubleGraph {
  final class Node {
    let rows: Int
    let columns: Int
    var values: [Double]
    var gradient: [Double]

    init(rows: Int, columns: Int, values: [Double]) {
      self.rows = rows
      self.columns = columns
      self.values = values
      gradient = Array(repeating: 0, count: values.count)
    }
  }

  private var steps: [() -> Void] = []

  func record(
    _ rows: Int, _ columns: Int, _ values: [Double], _ backward: @escaping (Node) -> Void
  ) -> Node {
    let node = Node(rows: rows, columns: columns, values: values)
    steps.append { backward(node) }
    return node
  }

  /// Gradients of every node, from the one that `output.gradient` holds.
  func backward() { for step in steps.reversed() { step() } }

  /// X·Wᵀ.
  func multiplyTransposed(_ x: Node, _ w: Node) -> Node {
    var y = [Double](repeating: 0, count: x.rows * w.rows)
    for i in 0..<x.rows {
      for j in 0..<w.rows {
        for k in 0..<x.columns {
          y[i * w.rows + j] += x.values[i * x.columns + k] * w.values[j * w.columns + k]
        }
      }
    }
    return record(x.rows, w.rows, y) { out in
      for i in 0..<x.rows {
        for j in 0..<w.rows {
          let d = out.gradient[i * w.rows + j]
          for k in 0..<x.columns {
            x.gradient[i * x.columns + k] += d * w.values[j * w.columns + k]
            w.gradient[j * w.columns + k] += d * x.values[i * x.columns + k]
          }
        }
      }
    }
  }

  func transposed(_ x: Node) -> Node {
    var y = x.values
    for i in 0..<x.rows {
      for j in 0..<x.columns { y[j * x.rows + i] = x.values[i * x.columns + j] }
    }
    return record(x.columns, x.rows, y) { out in
      for i in 0..<x.rows {
        for j in 0..<x.columns { x.gradient[i * x.columns + j] += out.gradient[j * x.rows + i] }
      }
    }
  }

  /// X + Z; a Z of one row is added to every row.
  func add(_ x: Node, _ z: Node) -> Node {
    let n = z.values.count
    let y = x.values.indices.map { x.values[$0] + z.values[$0 % n] }
    return record(x.rows, x.columns, y) { out in
      for i in y.indices {
        x.gradient[i] += out.gradient[i]
        z.gradient[i % n] += out.gradient[i]
      }
    }
  }

  /// Each value by its function and derivative.
  func map(_ x: Node, _ f: (Double) -> Double, _ derivative: @escaping (Double) -> Double) -> Node {
    record(x.rows, x.columns, x.values.map(f)) { out in
      for i in x.values.indices { x.gradient[i] += out.gradient[i] * derivative(x.values[i]) }
    }
  }

  func softmax(_ x: Node) -> Node {
    let n = x.columns
    var y = x.values
    for row in 0..<x.rows {
      let range = row * n..<(row + 1) * n
      let top = y[range].max() ?? 0
      let exponentials = y[range].map { exp($0 - top) }
      let sum = exponentials.reduce(0, +)
      y.replaceSubrange(range, with: exponentials.map { $0 / sum })
    }
    return record(x.rows, n, y) { out in
      for row in 0..<x.rows {
        let range = row * n..<(row + 1) * n
        let inner = range.reduce(0) { $0 + out.gradient[$1] * out.values[$1] }
        for i in range { x.gradient[i] += out.values[i] * (out.gradient[i] - inner) }
      }
    }
  }

  /// (x − mean)/√(variance + ε)⊙gain + bias of each row.
  func norm(_ x: Node, gain: [Double], bias: [Double], epsilon: Double) -> Node {
    let n = x.columns
    var y = x.values
    var unit = x.values
    var inverse = [Double](repeating: 0, count: x.rows)
    for row in 0..<x.rows {
      let values = x.values[row * n..<(row + 1) * n]
      let mean = values.reduce(0, +) / Double(n)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
      inverse[row] = 1 / (variance + epsilon).squareRoot()
      for j in 0..<n {
        unit[row * n + j] = (x.values[row * n + j] - mean) * inverse[row]
        y[row * n + j] = unit[row * n + j] * gain[j] + bias[j]
      }
    }
    return record(x.rows, n, y) { out in
      for row in 0..<x.rows {
        let d = (0..<n).map { out.gradient[row * n + $0] * gain[$0] }
        let mean = d.reduce(0, +) / Double(n)
        let along = (0..<n).reduce(0) { $0 + d[$1] * unit[row * n + $1] } / Double(n)
        for j in 0..<n {
          x.gradient[row * n + j] += inverse[row] * (d[j] - mean - unit[row * n + j] * along)
        }
      }
    }
  }

  func part(_ x: Node, rows: Range<Int>, columns: Range<Int>) -> Node {
    let places = rows.flatMap { row in columns.map { row * x.columns + $0 } }
    return record(rows.count, columns.count, places.map { x.values[$0] }) { out in
      for (i, place) in places.enumerated() { x.gradient[place] += out.gradient[i] }
    }
  }

  /// Parts laid out in a grid of sequences (rows) and heads (columns).
  func assemble(_ parts: [(node: Node, row: Int, column: Int)], rows: Int, columns: Int) -> Node {
    var y = [Double](repeating: 0, count: rows * columns)
    for (node, row, column) in parts {
      for i in 0..<node.rows {
        for j in 0..<node.columns {
          y[(row + i) * columns + column + j] = node.values[i * node.columns + j]
        }
      }
    }
    return record(rows, columns, y) { out in
      for (node, row, column) in parts {
        for i in 0..<node.rows {
          for j in 0..<node.columns {
            node.gradient[i * node.columns + j] += out.gradient[(row + i) * columns + column + j]
          }
        }
      }
    }
  }
}

/// The encoder in Double, straight from the checkpoint's tensors, with factors A and B at some sites.
struct TwinEncoder {
  let configuration: EncoderConfiguration
  /// By the checkpoint's names.
  let tensors: [String: [Double]]

  struct Factors {
    var a: [Int: DoubleGraph.Node] = [:]
    var b: [Int: DoubleGraph.Node] = [:]
  }

  func forward(_ batch: PackedBatch, _ factors: Factors, _ graph: DoubleGraph) -> DoubleGraph.Node {
    let width = configuration.hiddenSize
    var x = norm(embed(batch), "embeddings.LayerNorm", graph)
    let sites = Site.all(of: configuration)
    for layer in 0..<configuration.layers {
      let own = Array(sites[layer * 6..<layer * 6 + 6])
      let prefix = "encoder.layer.\(layer)."
      let q = project(own[0], x, factors, graph)
      let k = project(own[1], x, factors, graph)
      let v = project(own[2], x, factors, graph)
      var parts: [(node: DoubleGraph.Node, row: Int, column: Int)] = []
      for sequence in 0..<batch.count {
        let rows = batch.rows(of: sequence)
        for head in 0..<configuration.heads {
          let columns = head * configuration.headSize..<(head + 1) * configuration.headSize
          let scale = 1 / Double(configuration.headSize).squareRoot()
          let scores = graph.multiplyTransposed(
            graph.part(q, rows: rows, columns: columns), graph.part(k, rows: rows, columns: columns))
          let weights = graph.softmax(graph.map(scores, { $0 * scale }, { _ in scale }))
          let context = graph.multiplyTransposed(
            weights, graph.transposed(graph.part(v, rows: rows, columns: columns)))
          parts.append((context, rows.lowerBound, columns.lowerBound))
        }
      }
      let context = graph.assemble(parts, rows: batch.rows, columns: width)
      let attention = project(own[3], context, factors, graph)
      let middle = norm(graph.add(x, attention), prefix + "attention.output.LayerNorm", graph)
      let inner = activate(project(own[4], middle, factors, graph), graph)
      let outer = project(own[5], inner, factors, graph)
      x = norm(graph.add(middle, outer), prefix + "output.LayerNorm", graph)
    }
    return x
  }

  private func embed(_ batch: PackedBatch) -> DoubleGraph.Node {
    let width = configuration.hiddenSize
    var values: [Double] = []
    for sequence in 0..<batch.count {
      for (position, row) in batch.rows(of: sequence).enumerated() {
        let type = batch.types.isEmpty ? 0 : Int(batch.types[row])
        for j in 0..<width {
          values.append(
            tensor("embeddings.word_embeddings.weight")[Int(batch.ids[row]) * width + j]
              + tensor("embeddings.position_embeddings.weight")[position * width + j]
              + tensor("embeddings.token_type_embeddings.weight")[type * width + j])
        }
      }
    }
    return DoubleGraph.Node(rows: batch.rows, columns: width, values: values)
  }

  private func tensor(_ name: String) -> [Double] { tensors[name] ?? [] }

  private func norm(_ x: DoubleGraph.Node, _ name: String, _ graph: DoubleGraph) -> DoubleGraph.Node {
    graph.norm(
      x, gain: tensor(name + ".weight"), bias: tensor(name + ".bias"),
      epsilon: Double(configuration.layerNormEpsilon))
  }

  private func project(
    _ site: Site, _ x: DoubleGraph.Node, _ factors: Factors, _ graph: DoubleGraph
  ) -> DoubleGraph.Node {
    let weight = DoubleGraph.Node(
      rows: site.outputs, columns: site.inputs, values: tensor(site.name + ".weight"))
    let bias = DoubleGraph.Node(rows: 1, columns: site.outputs, values: tensor(site.name + ".bias"))
    let y = graph.add(graph.multiplyTransposed(x, weight), bias)
    guard let a = factors.a[site.index], let b = factors.b[site.index] else { return y }
    return graph.add(y, graph.multiplyTransposed(graph.multiplyTransposed(x, a), b))
  }

  private func activate(_ x: DoubleGraph.Node, _ graph: DoubleGraph) -> DoubleGraph.Node {
    switch configuration.activation {
    case .relu:
      return graph.map(x, { max($0, 0) }, { $0 > 0 ? 1 : 0 })
    case .gelu:
      let density = { (x: Double) in exp(-x * x / 2) / (2 * Double.pi).squareRoot() }
      let share = { (x: Double) in 0.5 * erfc(-x / 2.0.squareRoot()) }
      return graph.map(x, { $0 * share($0) }, { share($0) + $0 * density($0) })
    case .geluTanh:
      let c = (2 / Double.pi).squareRoot()
      let inner = { (x: Double) in tanh(c * (x + 0.044715 * x * x * x)) }
      return graph.map(
        x, { 0.5 * $0 * (1 + inner($0)) },
        {
          let t = inner($0)
          return 0.5 * (1 + t) + 0.5 * $0 * (1 - t * t) * c * (1 + 3 * 0.044715 * $0 * $0)
        })
    }
  }
}
