internal import Adapters
internal import Tensors

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// The losses. Each returns the weighted sum `Σ w·l` in Double and overwrites `dOutputs`, where given, with the gradient
/// of `scale · Σ w·l`.   outputs, dOutputs `[rows, outputs]`.
enum Loss {
  /// The loss of rows of a kind whose heads answer.
  static func rows(
    _ outputs: MatrixView, _ rows: [TrainingSet.Row], offset: Float, deviation: Float, scale: Float,
    dOutputs: MatrixView?
  ) -> Double {
    var sum = 0.0
    for (index, row) in rows.enumerated() {
      let output = outputs.row(index)
      let target = dOutputs?.row(index)
      let factor = scale * row.weight
      let loss =
        switch row.target {
        case .label(let label):
          crossEntropy(output, outputs.columns, label: label, factor, target)
        case .labels(let labels):
          binary(output, outputs.columns, labels: labels, factor, target)
        case .value(let value):
          squared(output, (value - offset) / deviation, factor, target)
        case .pair, .tokens: 0.0
        }
      sum += Double(row.weight) * loss
    }
    return sum
  }

  /// −log softmax(outputs)[label]; gradient p − y.
  private static func crossEntropy(
    _ x: UnsafeMutablePointer<Float>, _ count: Int, label: Int, _ factor: Float,
    _ gradient: UnsafeMutablePointer<Float>?
  ) -> Double {
    var top = x[0]
    for index in 1..<max(count, 1) { top = max(top, x[index]) }
    var sum = 0.0
    for index in 0..<count { sum += exp(Double(x[index] - top)) }
    if let gradient {
      for index in 0..<count {
        let p = exp(Double(x[index] - top)) / sum
        gradient[index] = factor * Float(p - (index == label ? 1 : 0))
      }
    }
    return log(sum) - Double(x[label] - top)
  }

  /// Mean over the labels of the binary cross-entropy; gradient (σ(x) − y)/labels.
  private static func binary(
    _ x: UnsafeMutablePointer<Float>, _ count: Int, labels: [Int], _ factor: Float,
    _ gradient: UnsafeMutablePointer<Float>?
  ) -> Double {
    var sum = 0.0
    var next = labels.startIndex
    for index in 0..<count {
      let isSet = next < labels.endIndex && labels[next] == index
      if isSet { next += 1 }
      let value = Double(x[index])
      // log(1 + e^-|x|) + max(x, 0) - x·y, which does not overflow.
      sum += log1p(exp(-abs(value))) + max(value, 0) - (isSet ? value : 0)
      if let gradient {
        let p = 1 / (1 + exp(-value))
        gradient[index] = factor * Float((p - (isSet ? 1 : 0)) / Double(count))
      }
    }
    return sum / Double(count)
  }

  /// (x − y)²; gradient 2(x − y).
  private static func squared(
    _ x: UnsafeMutablePointer<Float>, _ target: Float, _ factor: Float,
    _ gradient: UnsafeMutablePointer<Float>?
  ) -> Double {
    let difference = Double(x[0]) - Double(target)
    gradient?[0] = factor * Float(2 * difference)
    return difference * difference
  }
}
