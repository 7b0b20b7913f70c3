import Adapters
import Tensors
import Testing

@testable import Training

/// Gradients against central differences of the losses themselves.
struct LossTests {
  /// Central differences of float32 losses.
  private static let tolerance = 2e-3
  private static let step: Float = 1e-2

  private static func row(_ target: TrainingSet.Target, _ weight: Float) -> TrainingSet.Row {
    .init(texts: [0..<1], target: target, weight: weight)
  }

  @Test(arguments: TaskKind.allCases.filter { $0 != .embedding && $0 != .generation })
  func rowGradients(_ kind: TaskKind) {
    var random = RandomSource(seed: 31)
    let rows: [TrainingSet.Row] =
      switch kind {
      case .classification: [Self.row(.label(0), 1), Self.row(.label(2), 2.5)]
      case .multilabel: [Self.row(.labels([]), 1), Self.row(.labels([0, 2]), 2.5)]
      default: [Self.row(.value(3), 1), Self.row(.value(-1), 2.5)]
      }
    let columns = kind == .regression ? 1 : 3
    let arena = Arena()
    let outputs = arena.matrix(copying: random.matrix(2, columns))
    let gradient = arena.matrix(2, columns)
    func loss(_ target: MatrixView?) -> Double {
      0.5 * Loss.rows(outputs, rows, offset: 1, deviation: 2, scale: 0.5, dOutputs: target)
    }
    _ = loss(gradient)
    for index in 0..<2 * columns {
      let (row, column) = (index / columns, index % columns)
      let before = outputs[row, column]
      outputs[row, column] = before + Self.step
      let above = loss(nil)
      outputs[row, column] = before - Self.step
      let below = loss(nil)
      outputs[row, column] = before
      let expected = (above - below) / Double(2 * Self.step)
      #expect(abs(Double(gradient[row, column]) - expected) < Self.tolerance)
    }
  }

  @Test func contrastiveGradient() {
    var random = RandomSource(seed: 32)
    let texts = [2, 3, 2, 3]
    let width = 5
    var values = (0..<10 * width).map { _ in random.normal() }
    func run() -> Contrastive.Outcome {
      Contrastive.run(values, width: width, texts: texts, temperature: 0.5, arena: Arena())
    }
    let gradients = run().gradients
    for index in values.indices {
      let before = values[index]
      values[index] = before + Self.step
      let above = run().loss
      values[index] = before - Self.step
      let below = run().loss
      values[index] = before
      let expected = (above - below) / Double(2 * Self.step)
      #expect(abs(Double(gradients[index]) - expected) < Self.tolerance, "value \(index)")
    }
  }

  @Test func contrastiveCountsHits() {
    let values: [Float] = [1, 0, 1, 0.1, 0, 1, 0.1, 1]
    let outcome = Contrastive.run(values, width: 2, texts: [2, 2], temperature: 0.1, arena: Arena())
    #expect(outcome.hits == 2 && outcome.loss < 0.01)
  }

  @Test func extremeOutputsStayFinite() {
    let arena = Arena()
    let outputs = arena.matrix(copying: Matrix(rows: 1, columns: 2, values: [1e30, -1e30]))
    let gradient = arena.matrix(1, 2)
    for target: TrainingSet.Target in [.label(0), .label(1), .labels([1])] {
      let loss = Loss.rows(
        outputs, [Self.row(target, 1)], offset: 0, deviation: 1, scale: 1, dOutputs: gradient)
      #expect(loss.isFinite && gradient[0, 0].isFinite && gradient[0, 1].isFinite)
    }
  }
}

extension RandomSource {
  mutating func matrix(_ rows: Int, _ columns: Int, scale: Float = 1) -> Matrix {
    Matrix(rows: rows, columns: columns, values: (0..<rows * columns).map { _ in scale * normal() })
  }
}
