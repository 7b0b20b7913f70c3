import Foundation
import Models
import Safetensors
import Tensors
import Testing

extension Tolerance {
  /// Logits of order 1 to 3 against another library's order of sums: issue 3's line 1.
  static let logits: Float = 2e-4
  /// ‖a−b‖/‖b‖ of float32 gradients against torch's: issue 3's line 3.
  static let recordedGradient = 1e-4
  /// The mean loss in float32.
  static let loss = 1e-5
}

/// One recorded configuration of each family.
struct DecoderFixture {
  static let labels = ["llama", "mistral", "qwen2", "qwen3", "smollm2"]

  let golden: SafetensorsDocument
  let decoder: Decoder
  let batch: PackedBatch
  private let folder: RandomCheckpoint

  init(
    _ label: String, _ options: RandomCheckpoint.Options = .init(), as element: PackedElement = .float32
  ) throws {
    golden = try Fixture.golden(label, of: "decoder")
    folder = try RandomCheckpoint(
      label: label, configJSON: try #require(golden.metadata["config"]), options)
    decoder = try Decoder(Checkpoint(directory: folder.directory), as: element)
    batch = try Fixture.batch(golden)
  }

  func sequence(_ index: Int) -> [Int32] { Array(batch.ids[batch.rows(of: index)]) }

  /// Big enough for what the tests decode.
  func cache(pageTokens: Int = 32) -> KVCache {
    KVCache(
      decoder.configuration, element: decoder.element.keyValues, limitBytes: 1 << 26, pageTokens: pageTokens)
  }
}

func logits(
  _ decoder: Decoder, _ batch: PackedBatch, patch: (any ProjectionPatch)? = nil, arena: Arena = Arena()
) -> Matrix {
  arena.scope { Matrix(decoder.logits(decoder.forward(batch, patch: patch, arena: arena), arena: arena)) }
}

@Suite struct DecoderGoldenTests {
  struct Shape: CustomTestStringConvertible, Sendable {
    let label: String
    let elementType: ElementType
    let shards: Int
    var testDescription: String { "\(label) stored as \(elementType.rawValue) in \(shards) files" }
  }

  static let shapes = DecoderFixture.labels.flatMap { label in
    [(ElementType.f32, 1), (.f16, 3), (.bf16, 2)].map {
      Shape(label: label, elementType: $0.0, shards: $0.1)
    }
  }

  @Test(arguments: shapes) func `logits equal transformers`(_ shape: Shape) throws {
    var options = RandomCheckpoint.Options()
    options.elementType = shape.elementType
    options.shards = shape.shards
    // The recorded weights are exact in bfloat16, so packing them as such changes nothing.
    for element in [PackedElement.float32, .bfloat16] {
      let fixture = try DecoderFixture(shape.label, options, as: element)
      let difference = largestDifference(
        logits(fixture.decoder, fixture.batch).values, try fixture.golden.floats("logits"))
      print("\(shape.testDescription), \(element.rawValue): largest difference \(difference)")
      #expect(difference <= Tolerance.logits)
    }
  }

  @Test(arguments: DecoderFixture.labels)
  func `greedy continuations of 64 tokens through the cache equal transformers`(_ label: String) throws {
    let fixture = try DecoderFixture(label)
    let prompts = try fixture.golden.integers("prompts").map { Int32($0) }
    let expected = try fixture.golden.integers("greedy").map { Int32($0) }
    let cache = fixture.cache()
    let sequences = (0..<2).map { _ in cache.makeSequence() }
    let arena = Arena()
    // Two rows at different places in one batch from the first step to the last.
    var next = [Array(prompts[..<7]), Array(prompts[7...])]
    var texts: [[Int32]] = [[], []]
    for _ in 0..<64 {
      for (sequence, tokens) in zip(sequences, next) { try #require(sequence.reserve(tokens.count)) }
      arena.scope {
        let inputs = zip(sequences, next).map { DecoderInput(sequence: $0, tokens: $1) }
        let hidden = fixture.decoder.forward(inputs, patch: nil, arena: arena)
        var row = -1
        next = next.enumerated().map { index, tokens in
          row += tokens.count
          let scores = Matrix(fixture.decoder.logits(hidden.rows(row..<row + 1), arena: arena)).values
          let best = scores.indices.max { scores[$0] < scores[$1] } ?? 0
          texts[index].append(Int32(best))
          return [Int32(best)]
        }
      }
    }
    #expect(texts[0] == Array(expected[..<64]))
    #expect(texts[1] == Array(expected[64...]))
    #expect(Set(expected).count > 1)
  }

  @Test(arguments: DecoderFixture.labels)
  func `loss and gradients equal torch, with layers kept and with layers computed again`(_ label: String)
    throws
  {
    let fixture = try DecoderFixture(label)
    let decoder = fixture.decoder
    let prompts = try JSONDecoder().decode(
      [Int].self, from: Data(try #require(fixture.golden.metadata["prompts"]).utf8))
    var patches: [FactorPatch] = []
    var peaks: [Int] = []
    for recomputes in [false, true] {
      let patch = FactorPatch(decoder.sites, adapted: Set(decoder.sites.indices), rank: 4)
      let arena = Arena()
      let loss = completionLoss(decoder, fixture.batch, prompts, patch, recomputes: recomputes, arena: arena)
      let expected = try #require(fixture.golden.metadata["loss"].flatMap { Double($0) })
      #expect(abs(loss - expected) <= Tolerance.loss * expected)
      #expect(arena.usedBytes == 0)
      peaks.append(arena.peakBytes)
      patches.append(patch)
    }
    var worst = 0.0
    for site in decoder.sites {
      let kept = try #require(patches[0].factors[site.index])
      let again = try #require(patches[1].factors[site.index])
      #expect(kept.dA == again.dA && kept.dB == again.dB, "\(site.name)")
      for (name, gradient) in [("A", kept.dA), ("B", kept.dB)] {
        let error = relativeError(
          gradient.values.map { Double($0) },
          try fixture.golden.floats("\(site.name).\(name)").map { Double($0) })
        worst = max(worst, error)
        #expect(error <= Tolerance.recordedGradient, "\(name) of \(site.name)")
      }
    }
    print("\(label): largest relative error \(worst), peak \(peaks[0]) bytes, recomputing \(peaks[1])")
    #expect(peaks[1] < peaks[0])
  }
}

/// Mean cross-entropy of the tokens after each sequence's prompt (a prompt of 0 tokens leaves the sequence out); its
/// gradients go into the patch.
func completionLoss(
  _ decoder: Decoder, _ batch: PackedBatch, _ prompts: [Int], _ patch: any ProjectionPatch, recomputes: Bool,
  arena: Arena
) -> Double {
  arena.scope {
    let tape = decoder.forwardForTraining(batch, patch: patch, recomputes: recomputes, arena: arena)
    // The row before a completion's token foretells it.
    let rows = (0..<batch.count).filter { prompts[$0] > 0 }.flatMap {
      batch.rows(of: $0).lowerBound + prompts[$0] - 1..<batch.rows(of: $0).upperBound - 1
    }
    let dHidden = arena.matrix(batch.rows, decoder.configuration.hiddenSize)
    dHidden.fill(0)
    var loss = 0.0
    for row in rows {
      arena.scope {
        let scores = decoder.logits(tape.hidden.rows(row..<row + 1), arena: arena)
        Elementwise.softmax(scores, into: scores)
        let target = Int(batch.ids[row + 1])
        loss -= log(Double(scores[0, target]))
        scores[0, target] -= 1
        Elementwise.scale(scores, by: 1 / Float(rows.count))
        decoder.logitsBackward(scores, into: dHidden.rows(row..<row + 1))
      }
    }
    decoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
    return loss / Double(rows.count)
  }
}
