import Foundation
import Models
import Safetensors
import Tensors
import Testing

/// A patch of one task with its own A and B, gradients included: the plainest one that follows the protocol.
final class FactorPatch: ProjectionPatch {
  struct Factor {
    var a: Matrix
    let b: Matrix
    let packed: PackedWeights
    var dA: Matrix
    var dB: Matrix
  }

  private(set) var factors: [Int: Factor] = [:]
  private let sites: [Site]
  /// Rows that use `expand` in place of the shared columns, so both ways are differentiated.
  private let usesExpand: Bool

  init(_ sites: [Site], adapted: Set<Int>, rank: Int, usesExpand: Bool = false) {
    self.sites = sites
    self.usesExpand = usesExpand
    for site in sites where adapted.contains(site.index) {
      let a = GoldenStream.values("A/\(site.index)", rank * site.inputs).map { $0 / 4 }
      let b = GoldenStream.values("B/\(site.index)", site.outputs * rank).map { $0 / 4 }
      let matrix = Matrix(rows: site.outputs, columns: rank, values: b)
      factors[site.index] = Factor(
        a: Matrix(rows: rank, columns: site.inputs, values: a), b: matrix, packed: PackedWeights(matrix),
        dA: Matrix(zeros: rank, site.inputs), dB: Matrix(zeros: site.outputs, rank))
    }
  }

  func replaceA(_ site: Int, _ values: [Float]) { factors[site]?.a.values = values }

  func adapts(_ site: Int) -> Bool { factors[site] != nil }

  var lowestAdaptedLayer: Int? { factors.keys.map { sites[$0].layer }.min() }

  private func product(_ factor: Factor, _ input: MatrixView, _ arena: Arena) -> MatrixView {
    let z = arena.matrix(input.rows, factor.a.rows)
    factor.a.withView { Products.nt(input, $0, into: z) }
    return z
  }

  private var pending: [Int: MatrixView] = [:]

  func shrink(
    _ site: Int, input: MatrixView, arena: Arena
  ) -> (z: MatrixView, columns: PackedWeights)? {
    guard let factor = factors[site] else { return nil }
    let z = product(factor, input, arena)
    if usesExpand {
      pending[site] = z
      return nil
    }
    return (z, factor.packed)
  }

  func expand(_ site: Int, output: MatrixView, arena: Arena) {
    guard let z = pending.removeValue(forKey: site), let factor = factors[site] else { return }
    factor.packed.multiply(z, bias: nil, extra: nil, accumulate: true, into: output)
  }

  func backward(
    _ site: Int, dOutput: MatrixView, input: MatrixView, dInput: MatrixView?, arena: Arena
  ) {
    guard var factor = factors[site] else { return }
    let z = product(factor, input, arena)
    factor.dB.withMutableView { Products.tn(dOutput, z, accumulate: true, into: $0) }
    let dZ = arena.matrix(input.rows, factor.a.rows)
    factor.packed.multiplyTransposed(dOutput, accumulate: false, into: dZ)
    factor.dA.withMutableView { Products.tn(dZ, input, accumulate: true, into: $0) }
    if let dInput { factor.a.withView { Products.nn(dZ, $0, accumulate: true, into: dInput) } }
    factors[site] = factor
  }
}

extension Tolerance {
  /// ‖a−b‖/‖b‖ of float32 gradients against the twin's.
  static let gradient = 1e-5
  /// The twin's own gradients against central differences with step 1e-5 in double.
  static let centralDifferences = 1e-6
}

@Suite struct GradientTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let activation: String
    let adapted: String
    let usesExpand: Bool
    var testDescription: String { "\(activation), \(adapted) sites\(usesExpand ? ", own B" : "")" }

    /// Two layers of six sites.
    var sites: Set<Int> {
      switch adapted {
      case "all": Set(0..<12)
      case "lowest query and value": [0, 2]
      case "upper value": [8]
      case "upper output": [11]
      case "upper intermediate": [10]
      case "upper attention output": [9]
      default: [1, 3, 11]
      }
    }
  }

  static let cases: [Case] =
    ["gelu", "gelu_new", "relu"].map { Case(activation: $0, adapted: "all", usesExpand: false) }
    + [Case(activation: "gelu", adapted: "all", usesExpand: true)]
    + [
      "lowest query and value", "upper value", "upper output", "upper intermediate",
      "upper attention output", "mixed",
    ].map { Case(activation: "gelu", adapted: $0, usesExpand: false) }

  static let batch = PackedBatch(
    ids: [3, 14, 15, 9, 2, 6, 5, 35, 8], types: [0, 0, 1, 1, 0, 0, 0, 0, 1], starts: [0, 4, 5, 9])
  static let rank = 3

  /// A tiny encoder, its twin, and the loss Σ C⊙hidden with generated C.
  struct Pair {
    let encoder: Encoder
    let twin: TwinEncoder
    let weights: [Float]
    private let folder: RandomCheckpoint

    init(activation: String) throws {
      let config = """
        {"model_type":"bert","hidden_size":12,"num_hidden_layers":2,"num_attention_heads":3,
        "intermediate_size":20,"max_position_embeddings":7,"vocab_size":40,"type_vocab_size":2,
        "layer_norm_eps":1e-5,"hidden_act":"\(activation)"}
        """
      folder = try RandomCheckpoint(label: "tiny", configJSON: config)
      let checkpoint = try Checkpoint(directory: folder.directory)
      encoder = try Encoder(checkpoint)
      let file = try SafetensorsFile(path: folder.directory + "/model.safetensors")
      var tensors: [String: [Double]] = [:]
      for entry in file.entries { tensors[entry.name] = try file.floats(entry.name).map { Double($0) } }
      twin = TwinEncoder(configuration: encoder.configuration, tensors: tensors)
      weights = GoldenStream.values("C", batch.rows * encoder.configuration.hiddenSize)
    }

    func factors(of patch: FactorPatch) -> TwinEncoder.Factors {
      var factors = TwinEncoder.Factors()
      for (site, factor) in patch.factors {
        factors.a[site] = node(factor.a)
        factors.b[site] = node(factor.b)
      }
      return factors
    }

    private func node(_ matrix: Matrix) -> DoubleGraph.Node {
      DoubleGraph.Node(
        rows: matrix.rows, columns: matrix.columns, values: matrix.values.map { Double($0) })
    }

    func loss(_ factors: TwinEncoder.Factors) -> Double {
      let hidden = twin.forward(batch, factors, DoubleGraph())
      return zip(hidden.values, weights).reduce(0) { $0 + $1.0 * Double($1.1) }
    }

    func differentiate(_ factors: TwinEncoder.Factors) {
      let graph = DoubleGraph()
      let hidden = twin.forward(batch, factors, graph)
      hidden.gradient = weights.map { Double($0) }
      graph.backward()
    }
  }

  @Test(arguments: cases) func `gradients equal the twin's`(_ testCase: Case) throws {
    let pair = try Pair(activation: testCase.activation)
    let patch = FactorPatch(
      pair.encoder.sites, adapted: testCase.sites, rank: Self.rank, usesExpand: testCase.usesExpand)
    let factors = pair.factors(of: patch)
    pair.differentiate(factors)

    let arena = Arena()
    arena.scope {
      let tape = pair.encoder.forwardForTraining(Self.batch, patch: patch, dropout: nil, arena: arena)
      #expect(Matrix(tape.hidden) == hiddenStates(pair.encoder, Self.batch, patch: patch))
      let dHidden = arena.matrix(
        copying: Matrix(rows: tape.hidden.rows, columns: tape.hidden.columns, values: pair.weights))
      pair.encoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
    }
    var worst = 0.0
    for (site, factor) in patch.factors {
      for (name, fast, twin) in [("A", factor.dA, factors.a[site]), ("B", factor.dB, factors.b[site])] {
        let error = relativeError(fast.values.map { Double($0) }, try #require(twin).gradient)
        worst = max(worst, error)
        #expect(error <= Tolerance.gradient, "\(name) of site \(site)")
      }
    }
    print("\(testCase.testDescription): largest relative error \(worst)")
  }

  @Test(arguments: ["gelu", "gelu_new", "relu"])
  func `the twin's gradients equal central differences`(activation: String) throws {
    let pair = try Pair(activation: activation)
    let patch = FactorPatch(pair.encoder.sites, adapted: Set(0..<12), rank: Self.rank)
    let factors = pair.factors(of: patch)
    pair.differentiate(factors)
    let step = 1e-5
    for site in 0..<12 {
      for node in try [#require(factors.a[site]), #require(factors.b[site])] {
        // Every seventh entry: a tensor's kinds of place all come up.
        let places = Array(stride(from: site % 7, to: node.values.count, by: 7))
        let numeric = places.map { place in
          let value = node.values[place]
          node.values[place] = value + step
          let above = pair.loss(factors)
          node.values[place] = value - step
          let below = pair.loss(factors)
          node.values[place] = value
          return (above - below) / (2 * step)
        }
        let error = relativeError(places.map { node.gradient[$0] }, numeric)
        #expect(error <= Tolerance.centralDifferences, "site \(site)")
      }
    }
  }
}

/// ‖a−b‖/‖b‖.
func relativeError(_ a: [Double], _ b: [Double]) -> Double {
  guard a.count == b.count else { return .infinity }
  let difference = zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
  let norm = b.reduce(0) { $0 + $1 * $1 }.squareRoot()
  return norm == 0 ? (difference == 0 ? 0 : .infinity) : difference / norm
}
