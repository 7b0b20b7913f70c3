import Tensors
import Testing

@testable import Adapters

struct HeadTests {
  @Test(arguments: Pooling.allCases)
  func forwardEqualsSlowLoop(_ pooling: Pooling) throws {
    var random = RandomSource(seed: 21)
    let hidden = random.matrix(9, 6)
    let starts = [0, 2, 3, 9]
    let dense = DenseLayer(weight: random.matrix(6, 6), bias: random.matrix(1, 6).values)
    let linear = DenseLayer(weight: random.matrix(2, 6), bias: [0.5, -1])
    let head = ResidentHead(
      Head(pooling: pooling, dense: dense, activation: .relu, linear: linear, labels: ["a", "b"]))
    let arena = Arena()
    let outputs = Matrix(
      HeadForward.run(
        head.views, hidden: arena.matrix(copying: hidden), starts: starts, sequences: 1..<3, arena: arena
      ).outputs)
    for (row, sequence) in (1..<3).enumerated() {
      let tokens = starts[sequence]..<starts[sequence + 1]
      let used =
        switch pooling {
        case .cls: [tokens.lowerBound]
        case .last: [tokens.upperBound - 1]
        case .mean: Array(tokens)
        }
      let pooled = (0..<6).map { column in
        used.reduce(0.0) { $0 + Double(hidden[$1, column]) } / Double(used.count)
      }
      var features = slowNT([pooled], dense.weight)[0]
      for index in features.indices { features[index] = max(0, features[index] + Double(dense.bias[index])) }
      let expected = slowNT([features], linear.weight)[0]
      for column in 0..<2 {
        #expect(
          abs(Double(outputs[row, column]) - expected[column] - Double(linear.bias[column]))
            < Tolerance.product)
      }
    }
  }

  @Test func predictions() throws {
    let head = Head(pooling: .mean, labels: ["a", "b"], thresholds: [0.6, 0.4], offset: 10, scale: 2)
    let outputs: [Float] = [0, 0]
    let all = outputs.withUnsafeBufferPointer { outputs in
      TaskKind.allCases.filter { $0 != .generation }.map {
        Prediction(kind: $0, head: head, outputs: outputs)
      }
    }
    #expect(all[0] == .classification(scores: [0.5, 0.5]))
    #expect(all[1] == .multilabel(scores: [0.5, 0.5], chosen: [1]))
    #expect(all[2] == .regression(value: 10))
    #expect(all[3] == .embedding([0, 0]))
    let pair: [Float] = [3, 4]
    pair.withUnsafeBufferPointer { pair in
      #expect(Prediction(kind: .embedding, head: head, outputs: pair) == .embedding([0.6, 0.8]))
      #expect(
        Prediction(kind: .embedding, head: head, outputs: pair, normalised: false) == .embedding([3, 4]))
    }
    let huge: [Float] = [1e30, -1e30]
    huge.withUnsafeBufferPointer { huge in
      #expect(
        Prediction(kind: .classification, head: head, outputs: huge) == .classification(scores: [1, 0]))
    }
  }
}
