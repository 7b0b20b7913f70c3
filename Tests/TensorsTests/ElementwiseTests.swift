import Foundation
import Tensors
import Testing

private let widths = [1, 2, 15, 16, 17, 32, 33, 60, 312, 384, 1536]

/// Float32 results against Double twins, relative above 1 and absolute below.
private let tolerance = 2e-6

private func near(_ value: Float, _ expected: Double) -> Bool {
  abs(Double(value) - expected) <= tolerance * max(1, abs(expected))
}

private func allNear(_ field: Field, _ expected: (Int, Int) -> Double) -> Bool {
  for row in 0..<field.view.rows {
    for column in 0..<field.view.columns where !near(field.view[row, column], expected(row, column)) {
      Issue.record("\(field.view[row, column]) is not \(expected(row, column)) at \(row), \(column)")
      return false
    }
  }
  return true
}

private func gelu(_ x: Double) -> Double { x * 0.5 * erfc(-x / 2.0.squareRoot()) }
private func geluTanh(_ x: Double) -> Double {
  0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
}

private func slope(_ f: (Double) -> Double, _ x: Double) -> Double {
  let h = 1e-5
  return (f(x + h) - f(x - h)) / (2 * h)
}

@Suite struct ElementwiseTests {
  /// -12...12 in steps that hit both branches of every approximation, and far ends.
  private static let sweep: [Float] =
    (0...24000).map { Float($0 - 12000) / 1000 } + [-1e4, 1e4, -0.0, 1e-20, -1e-20, 88, -88, 40, -40]

  private func run(_ f: Elementwise.Activation, _ twin: (Double) -> Double, saved: (Float) -> Float) {
    let x = Field(1, Self.sweep.count) { Self.sweep[$1] }
    let (y, dX) = (Field(1, Self.sweep.count), Field(1, Self.sweep.count))
    let kept = Field(1, Self.sweep.count) { saved(Self.sweep[$1]) }
    let dY = Field(1, Self.sweep.count) { _, _ in 1 }
    Elementwise.activate(f, x.view, into: y.view)
    #expect(allNear(y) { _, column in twin(Double(Self.sweep[column])) })
    Elementwise.activateBackward(f, dY.view, saved: kept.view, into: dX.view)
    for (index, value) in Self.sweep.enumerated() where f != .relu || abs(value) > 1e-3 {
      #expect(abs(Double(dX.view[0, index]) - slope(twin, Double(value))) < 4e-6, "at \(value)")
    }
    #expect(y.isGuarded && dX.isGuarded)
  }

  @Test func exactGELU() { run(.gelu, gelu) { $0 } }
  @Test func tanhGELU() { run(.geluTanh, geluTanh) { $0 } }
  @Test func hyperbolicTangent() { run(.tanh, { tanh($0) }) { tanh($0) } }
  @Test func rectifier() { run(.relu, { max($0, 0) }) { $0 } }

  @Test func gelusTailKeepsItsDigits() {
    let values: [Float] = [-1, -2, -3, -4, -5]
    let x = Field(1, 5) { values[$1] }
    Elementwise.activate(.gelu, x.view, into: x.view)
    for (index, value) in values.enumerated() {
      #expect(abs(Double(x.view[0, index]) / gelu(Double(value)) - 1) < 3e-6, "at \(value)")
    }
  }

  @Test(arguments: widths) func layerNorm(_ width: Int) {
    var random = RandomSource(seed: 7, stream: UInt64(width))
    let rows = 3
    // A mean far from zero and a row of equal values.
    let noise = Field(rows, width, random: &random)
    let x = Field(rows, width) { $0 == 2 ? 4 : noise.view[$0, $1] + Float($0) * 10 }
    let (gain, bias) = (Field(1, width, random: &random), Field(1, width, random: &random))
    let dY = Field(rows, width, random: &random)
    let (y, dX) = (Field(rows, width), Field(rows, width) { _, _ in 0.5 })
    let saved = Field(2, rows)
    let epsilon: Float = 1e-5
    Elementwise.layerNorm(
      x.view, gain: gain.view.base, bias: bias.view.base, epsilon: epsilon, into: y.view,
      mean: saved.view.row(0), inverseDeviation: saved.view.row(1))
    Elementwise.layerNormBackward(
      dY.view, input: x.view, gain: gain.view.base, mean: saved.view.row(0),
      inverseDeviation: saved.view.row(1), accumulate: true, into: dX.view)
    for row in 0..<rows {
      let values = (0..<width).map { Double(x.view[row, $0]) }
      let mean = values.reduce(0, +) / Double(width)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
      let inverse = 1 / (variance + Double(epsilon)).squareRoot()
      let normal = values.map { ($0 - mean) * inverse }
      let g = (0..<width).map { Double(dY.view[row, $0]) * Double(gain.view[0, $0]) }
      let meanG = g.reduce(0, +) / Double(width)
      let meanGX = zip(g, normal).reduce(0) { $0 + $1.0 * $1.1 } / Double(width)
      // The centred values carry the rounding of the input's own mean, times the inverse deviation.
      let slack = 4e-6 * max(1, inverse) * (1 + abs(mean) / 10)
      for column in 0..<width {
        let expected = normal[column] * Double(gain.view[0, column]) + Double(bias.view[0, column])
        #expect(abs(Double(y.view[row, column]) - expected) < slack)
        let gradient = 0.5 + inverse * (g[column] - meanG - normal[column] * meanGX)
        #expect(abs(Double(dX.view[row, column]) - gradient) < slack * max(1, inverse))
      }
    }
    #expect(y.isGuarded && dX.isGuarded)
  }

  @Test(arguments: widths) func softmax(_ width: Int) {
    var random = RandomSource(seed: 8, stream: UInt64(width))
    let x = Field(3, width) { row, _ in (random.uniform() - 0.5) * (row == 0 ? 4 : 300) }
    let dY = Field(3, width, random: &random)
    let (y, dX) = (Field(3, width), Field(3, width))
    let scale: Float = 0.125
    Elementwise.softmax(x.view, scale: scale, into: y.view)
    Elementwise.softmaxBackward(dY.view, output: y.view, scale: scale, into: dX.view)
    for row in 0..<3 {
      let logits = (0..<width).map { Double(x.view[row, $0] * scale) }
      let top = logits.max() ?? 0
      let powers = logits.map { exp($0 - top) }
      let sum = powers.reduce(0, +)
      let total = (0..<width).reduce(0) { $0 + powers[$1] / sum * Double(dY.view[row, $1]) }
      for column in 0..<width {
        let share = powers[column] / sum
        #expect(near(y.view[row, column], share))
        #expect(near(dX.view[row, column], Double(scale) * share * (Double(dY.view[row, column]) - total)))
      }
    }
    #expect(y.isGuarded && dX.isGuarded)
  }

  @Test(arguments: widths) func sums(_ width: Int) {
    var random = RandomSource(seed: 9, stream: UInt64(width))
    let (x, z) = (Field(7, width, random: &random), Field(7, width, random: &random))
    let y = Field(7, width)
    Elementwise.add(x.view, z.view, into: y.view)
    #expect(allNear(y) { Double(x.view[$0, $1]) + Double(z.view[$0, $1]) })
    Elementwise.accumulate(x.view, scale: -1, into: y.view)
    #expect(allNear(y) { Double(z.view[$0, $1]) })
    Elementwise.scale(y.view, by: 3)
    #expect(allNear(y) { 3 * Double(z.view[$0, $1]) })
    Elementwise.multiply(x.view, z.view, into: y.view)
    #expect(allNear(y) { Double(x.view[$0, $1]) * Double(z.view[$0, $1]) })
    y.view.copy(from: x.view)
    Elementwise.addRow(z.view.row(2), to: y.view)
    #expect(allNear(y) { Double(x.view[$0, $1]) + Double(z.view[2, $1]) })
    let totals = Field(1, width) { _, _ in 9 }
    Elementwise.columnSums(x.view, accumulate: false, into: totals.view.base)
    #expect(allNear(totals) { _, column in (0..<7).reduce(0) { $0 + Double(x.view[$1, column]) } })
    var expected = 0.0
    for row in 0..<7 {
      for column in 0..<width { expected += Double(x.view[row, column]) * Double(z.view[row, column]) }
    }
    #expect(abs(Elementwise.dot(x.view, z.view) - expected) < 1e-12 * Double(7 * width))
    #expect(y.isGuarded && totals.isGuarded)
  }

  @Test func whatIsNotANumberStaysSo() {
    for f in [Elementwise.Activation.gelu, .geluTanh, .tanh, .relu] {
      for width in [1, 16, 17] {
        let x = Field(1, width) { _, _ in .nan }
        Elementwise.activate(f, x.view, into: x.view)
        #expect((0..<width).allSatisfy { x.view[0, $0].isNaN }, "\(f) of \(width)")
      }
    }
    for position in [0, 3, 16, 20] {
      let x = Field(1, 21) { $1 == position ? .nan : 1 }
      Elementwise.softmax(x.view, into: x.view)
      #expect((0..<21).allSatisfy { x.view[0, $0].isNaN }, "softmax with one at \(position)")
    }
  }

  @Test func adamWFollowsItsEquations() {
    var random = RandomSource(seed: 10)
    let count = 37
    var values = (0..<count).map { _ in random.normal() }
    var twin = values.map(Double.init)
    var (first, second) = ([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
    var (m, v) = ([Double](repeating: 0, count: count), [Double](repeating: 0, count: count))
    let settings = AdamW(learningRate: 0.01, weightDecay: 0.1)
    for step in 1...20 {
      let gradients = (0..<count).map { _ in random.normal() }
      values.withUnsafeMutableBufferPointer { values in
        first.withUnsafeMutableBufferPointer { first in
          second.withUnsafeMutableBufferPointer { second in
            gradients.withUnsafeBufferPointer {
              settings.update(values, gradients: $0, first: first, second: second, step: step)
            }
          }
        }
      }
      for index in 0..<count {
        let g = Double(gradients[index])
        m[index] = 0.9 * m[index] + 0.1 * g
        v[index] = 0.999 * v[index] + 0.001 * g * g
        let corrected = (v[index] / (1 - pow(0.999, Double(step)))).squareRoot() + 1e-8
        twin[index] *= 1 - 0.01 * 0.1
        twin[index] -= 0.01 * m[index] / (1 - pow(0.9, Double(step))) / corrected
      }
    }
    for index in 0..<count { #expect(near(values[index], twin[index])) }
  }
}
