import Foundation
import Models
import Safetensors
import Tensors
import Testing

extension Tolerance {
  /// Hidden states of a tiny decoder against the twin's.
  static let twin = 1e-5
}

@Suite struct DecoderGradientTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let shape: String
    let adapted: String
    let usesExpand: Bool
    var testDescription: String { "\(shape), \(adapted)\(usesExpand ? ", own B" : "")" }

    /// Two layers of seven sites.
    var sites: Set<Int> {
      switch adapted {
      case "all": Set(0..<14)
      case "lowest query and value": [0, 2]
      case "lowest key": [1]
      case "lowest gate": [4]
      case "upper value": [9]
      case "upper attention output": [10]
      case "upper gate": [11]
      case "upper up": [12]
      case "upper down": [13]
      default: [1, 5, 13]
      }
    }
  }

  static let shapes = [
    "biased llama": #""model_type":"llama","attention_bias":true,"mlp_bias":true"#,
    "windowed mistral": #""model_type":"mistral","sliding_window":3,"head_dim":6"#,
    "normed qwen3": #""model_type":"qwen3","head_dim":4,"tie_word_embeddings":true"#,
  ]

  static let cases: [Case] =
    shapes.keys.sorted().map { Case(shape: $0, adapted: "all", usesExpand: false) }
    + [Case(shape: "biased llama", adapted: "all", usesExpand: true)]
    + [
      "lowest query and value", "lowest key", "lowest gate", "upper value", "upper attention output",
      "upper gate", "upper up", "upper down", "mixed",
    ].map { Case(shape: "normed qwen3", adapted: $0, usesExpand: false) }

  static let batch = PackedBatch(
    ids: [3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7], starts: [0, 6, 7, 11])
  static let rank = 3

  /// A tiny decoder, its twin, and the loss Σ C⊙hidden with generated C.
  struct Pair {
    let decoder: Decoder
    let twin: TwinDecoder
    let weights: [Float]
    private let folder: RandomCheckpoint

    init(_ shape: String) throws {
      let family = try #require(shapes[shape])
      let config = """
        {\(family),"hidden_size":16,"num_hidden_layers":2,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":20,"max_position_embeddings":7,"vocab_size":40,
        "rms_norm_eps":1e-5,"rope_theta":100,"hidden_act":"silu"}
        """
      folder = try RandomCheckpoint(label: "tiny", configJSON: config)
      decoder = try Decoder(Checkpoint(directory: folder.directory))
      let file = try SafetensorsFile(path: folder.directory + "/model.safetensors")
      var tensors: [String: [Double]] = [:]
      for entry in file.entries { tensors[entry.name] = try file.floats(entry.name).map { Double($0) } }
      twin = TwinDecoder(configuration: decoder.configuration, tensors: tensors)
      weights = GoldenStream.values("C", batch.rows * decoder.configuration.hiddenSize)
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
      let graph = DoubleGraph()
      return zip(twin.forward(batch, factors, graph).values, weights).reduce(0) { $0 + $1.0 * Double($1.1) }
    }

    /// Fills the factors' gradients.
    @discardableResult
    func differentiate(_ factors: TwinEncoder.Factors) -> [Double] {
      let graph = DoubleGraph()
      let hidden = twin.forward(batch, factors, graph)
      hidden.gradient = weights.map { Double($0) }
      graph.backward()
      return hidden.values
    }
  }

  @Test(arguments: cases) func `hidden states and gradients equal the twin's`(_ testCase: Case) throws {
    let pair = try Pair(testCase.shape)
    var worst = 0.0
    for recomputes in [false, true] {
      let patch = FactorPatch(
        pair.decoder.sites, adapted: testCase.sites, rank: Self.rank, usesExpand: testCase.usesExpand)
      let factors = pair.factors(of: patch)
      let expected = pair.differentiate(factors)
      let arena = Arena()
      arena.scope {
        let tape = pair.decoder.forwardForTraining(
          Self.batch, patch: patch, recomputes: recomputes, arena: arena)
        let hidden = Matrix(tape.hidden)
        #expect(hidden == Matrix(pair.decoder.forward(Self.batch, patch: patch, arena: arena)))
        #expect(relativeError(hidden.values.map { Double($0) }, expected) <= Tolerance.twin)
        let dHidden = arena.matrix(
          copying: Matrix(rows: hidden.rows, columns: hidden.columns, values: pair.weights))
        pair.decoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
      }
      for (site, factor) in patch.factors {
        for (name, fast, twin) in [("A", factor.dA, factors.a[site]), ("B", factor.dB, factors.b[site])] {
          let error = relativeError(fast.values.map { Double($0) }, try #require(twin).gradient)
          worst = max(worst, error)
          #expect(error <= Tolerance.gradient, "\(name) of site \(site)")
        }
      }
    }
    print("\(testCase.testDescription): largest relative error \(worst)")
  }

  @Test(arguments: shapes.keys.sorted())
  func `the twin's gradients equal central differences`(_ shape: String) throws {
    let pair = try Pair(shape)
    let patch = FactorPatch(pair.decoder.sites, adapted: Set(0..<14), rank: Self.rank)
    let factors = pair.factors(of: patch)
    pair.differentiate(factors)
    let step = 1e-5
    for site in 0..<14 {
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
        #expect(
          relativeError(places.map { node.gradient[$0] }, numeric) <= Tolerance.centralDifferences,
          "site \(site)")
      }
    }
  }

  @Test func `a patch that adapts nothing changes nothing`() throws {
    let pair = try Pair("windowed mistral")
    let arena = Arena()
    let patch = FactorPatch(pair.decoder.sites, adapted: [], rank: 2)
    arena.scope {
      let tape = pair.decoder.forwardForTraining(Self.batch, patch: patch, recomputes: false, arena: arena)
      #expect(Matrix(tape.hidden) == Matrix(pair.decoder.forward(Self.batch, patch: nil, arena: arena)))
      pair.decoder.backward(tape, dHidden: tape.hidden, patch: patch, arena: arena)
    }
  }
}
