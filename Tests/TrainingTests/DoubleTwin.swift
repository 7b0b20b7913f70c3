import Foundation

/// A slow BERT in Double with adapters and a head, straight from the equations; gradients by central differences.
struct DoubleTwin {
  typealias Rows = [[Double]]

  let model: RandomBERT
  private let weights: [String: [Double]]
  /// Trained tensors by name (`SITE.A`, `SITE.B`, `head.…`), flat and row-major.
  var trained: [String: [Double]]
  let rank: Int
  let scale: Double
  let usesPooler: Bool

  init(model: RandomBERT, trained: [String: [Double]], rank: Int, scale: Double, usesPooler: Bool) {
    self.model = model
    weights = Dictionary(uniqueKeysWithValues: model.tensors.map { ($0.name, $0.values.map(Double.init)) })
    self.trained = trained
    self.rank = rank
    self.scale = scale
    self.usesPooler = usesPooler
  }

  private func weight(_ name: String) -> [Double] { weights[name] ?? [] }

  private func apply(_ x: Rows, _ w: [Double], _ bias: [Double], outputs: Int) -> Rows {
    x.map { row in
      (0..<outputs).map { output in
        var sum = bias.isEmpty ? 0 : bias[output]
        for k in row.indices { sum += row[k] * w[output * row.count + k] }
        return sum
      }
    }
  }

  /// `y = W·x + b + s·B·A·x`.
  private func project(_ x: Rows, _ name: String, outputs: Int) -> Rows {
    let y = apply(x, weight("\(name).weight"), weight("\(name).bias"), outputs: outputs)
    guard let a = trained["\(name).A"], let b = trained["\(name).B"] else { return y }
    let change = apply(apply(x, a, [], outputs: rank), b, [], outputs: outputs)
    return zip(y, change).map { zip($0, $1).map { $0 + scale * $1 } }
  }

  private func normalise(_ x: Rows, _ name: String) -> Rows {
    let (gain, bias) = (weight("\(name).LayerNorm.weight"), weight("\(name).LayerNorm.bias"))
    return x.map { row in
      let mean = row.reduce(0, +) / Double(row.count)
      let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(row.count)
      return row.indices.map { (row[$0] - mean) / (variance + 1e-12).squareRoot() * gain[$0] + bias[$0] }
    }
  }

  private func add(_ a: Rows, _ b: Rows) -> Rows { zip(a, b).map { zip($0, $1).map(+) } }

  private func attend(_ q: Rows, _ k: Rows, _ v: Rows) -> Rows {
    let size = model.width / model.heads
    var result = Rows(repeating: Array(repeating: 0, count: model.width), count: q.count)
    for head in 0..<model.heads {
      let columns = head * size..<(head + 1) * size
      for i in q.indices {
        let scores = k.indices.map { j in
          columns.reduce(0.0) { $0 + q[i][$1] * k[j][$1] } / Double(size).squareRoot()
        }
        let top = scores.max() ?? 0
        let powers = scores.map { exp($0 - top) }
        let sum = powers.reduce(0, +)
        for j in v.indices { for c in columns { result[i][c] += powers[j] / sum * v[j][c] } }
      }
    }
    return result
  }

  private func hidden(_ ids: [Int], _ types: [Int]) -> Rows {
    let width = model.width
    func row(_ name: String, _ index: Int) -> ArraySlice<Double> {
      weight(name)[index * width..<(index + 1) * width]
    }
    var x: Rows = ids.indices.map { position in
      let word = Array(row("embeddings.word_embeddings.weight", ids[position]))
      let place = Array(row("embeddings.position_embeddings.weight", position))
      let type = Array(row("embeddings.token_type_embeddings.weight", types[position]))
      return (0..<width).map { word[$0] + place[$0] + type[$0] }
    }
    x = normalise(x, "embeddings")
    for layer in 0..<model.layers {
      let prefix = "encoder.layer.\(layer)"
      let parts = ["query", "key", "value"].map {
        project(x, "\(prefix).attention.self.\($0)", outputs: width)
      }
      let attended = attend(parts[0], parts[1], parts[2])
      let output = project(attended, "\(prefix).attention.output.dense", outputs: width)
      x = normalise(add(x, output), "\(prefix).attention.output")
      let inner = project(x, "\(prefix).intermediate.dense", outputs: model.intermediate)
        .map { $0.map { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) } }
      x = normalise(add(x, project(inner, "\(prefix).output.dense", outputs: width)), "\(prefix).output")
    }
    return x
  }

  /// Weighted mean cross-entropy over rows of (ids, types, label, weight).
  func loss(_ rows: [(ids: [Int], types: [Int], label: Int, weight: Double)]) -> Double {
    var (sum, total) = (0.0, 0.0)
    for row in rows {
      let hidden = hidden(row.ids, row.types)
      var x = hidden[0]
      if usesPooler {
        x = apply(
          [x], trained["head.dense.weight"] ?? [], trained["head.dense.bias"] ?? [], outputs: model.width)[0]
          .map { tanh($0) }
      } else {
        x = x.indices.map { column in hidden.reduce(0) { $0 + $1[column] } / Double(hidden.count) }
      }
      let bias = trained["head.linear.bias"] ?? []
      let logits = apply([x], trained["head.linear.weight"] ?? [], bias, outputs: bias.count)[0]
      let top = logits.max() ?? 0
      sum += row.weight * (log(logits.reduce(0) { $0 + exp($1 - top) }) - logits[row.label] + top)
      total += row.weight
    }
    return sum / total
  }

  /// The gradient at one tensor by central differences, fourth order, accurate to about 1e-10.
  mutating func gradient(
    _ name: String, _ rows: [(ids: [Int], types: [Int], label: Int, weight: Double)]
  ) -> [Double] {
    let step = 1e-3
    let count = trained[name]?.count ?? 0
    return (0..<count).map { index in
      let before = trained[name]?[index] ?? 0
      func at(_ offset: Double) -> Double {
        var copy = self
        copy.trained[name]?[index] = before + offset
        return copy.loss(rows)
      }
      return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    }
  }
}
