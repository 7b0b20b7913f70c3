import Foundation
import Models
import Tensors
import TestSupport
import Testing

@Suite struct BaseModelTests {
  static let batch = PackedBatch(ids: [3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7], starts: [0, 6, 7, 11])

  static func folder(_ family: ModelFamily) throws -> RandomCheckpoint {
    let config =
      switch family {
      case .encoder:
        """
        {"model_type":"bert","hidden_size":16,"num_hidden_layers":3,"num_attention_heads":2,
        "intermediate_size":20,"max_position_embeddings":7,"vocab_size":40,"type_vocab_size":2}
        """
      case .decoder:
        """
        {"model_type":"qwen3","head_dim":8,"hidden_size":16,"num_hidden_layers":3,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":20,"max_position_embeddings":7,"vocab_size":40,
        "rms_norm_eps":1e-5,"tie_word_embeddings":true}
        """
      }
    return try RandomCheckpoint(label: "base", configJSON: config)
  }

  @Test(arguments: ModelFamily.allCases, WeightFormat.allCases)
  func `a base of either family is what its folder is`(_ family: ModelFamily, _ format: WeightFormat) throws {
    let folder = try Self.folder(family)
    let checkpoint = try Checkpoint(directory: folder.directory)
    let base = try BaseModel(checkpoint, weights: format)
    #expect(base.family == family && base.weightFormat == format)
    #expect(base.digest == checkpoint.digest && base.sites == checkpoint.sites && base.width == 16)
    #expect(base.configuration == checkpoint.configuration)
    #expect(base.parameterCount == checkpoint.parameterCount)
    #expect((base.pooler != nil) == (family == .encoder))
    let wide = try BaseModel(checkpoint)
    #expect(
      base.residentBytes <= wide.residentBytes
        && (base.residentBytes < wide.residentBytes) == (format != .f32))
    let arena = Arena()
    arena.scope {
      let hidden = Matrix(base.forward(Self.batch, patch: nil, arena: arena))
      let expected = Matrix(wide.forward(Self.batch, patch: nil, arena: arena))
      #expect(format == .f32 ? hidden == expected : hidden != expected)
      #expect(hidden.rows == Self.batch.rows && hidden.columns == 16)
    }
  }

  @Test(arguments: ModelFamily.allCases, [Float(0), 0.25])
  func `layers computed again give the same bits in less memory`(_ family: ModelFamily, _ rate: Float) throws
  {
    guard family == .encoder || rate == 0 else { return }
    let folder = try Self.folder(family)
    let base = try BaseModel(Checkpoint(directory: folder.directory))
    let dropout = rate > 0 ? DropoutMask(rate: rate, seed: 5, sequenceKeys: [1, 2, 3]) : nil
    var patches: [FactorPatch] = []
    var outputs: [Matrix] = []
    var peaks: [Int] = []
    for recomputes in [false, true] {
      // Layer 0 is not adapted: the pass ends above it.
      let first = base.family.siteKinds.count
      let patch = FactorPatch(base.sites, adapted: Set(first..<base.sites.count), rank: 3)
      let arena = Arena()
      arena.scope {
        let tape = base.forwardForTraining(
          Self.batch, patch: patch, dropout: dropout, recomputes: recomputes, arena: arena)
        outputs.append(Matrix(tape.hidden))
        let weights = GoldenStream.values("C", Self.batch.rows * 16)
        let dHidden = arena.matrix(copying: Matrix(rows: Self.batch.rows, columns: 16, values: weights))
        base.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
      }
      #expect(arena.usedBytes == 0)
      peaks.append(arena.peakBytes)
      patches.append(patch)
    }
    #expect(outputs[0] == outputs[1])
    #expect(peaks[1] < peaks[0], "peak \(peaks[0]) bytes, recomputing \(peaks[1])")
    for (site, factor) in patches[0].factors {
      let again = try #require(patches[1].factors[site])
      #expect(factor.dA == again.dA && factor.dB == again.dB, "\(base.sites[site].name)")
      #expect(factor.dA.values.contains { $0 != 0 })
    }
  }

  /// The estimate against what is in use, at a shape whose attention counts and at one whose widths count.
  @Test(arguments: ModelFamily.allCases, [16, 300])
  func `a tape takes about what is said`(_ family: ModelFamily, _ longest: Int) throws {
    let config =
      switch family {
      case .encoder:
        """
        {"model_type":"bert","hidden_size":64,"num_hidden_layers":4,"num_attention_heads":4,
        "intermediate_size":160,"max_position_embeddings":320,"vocab_size":40,"type_vocab_size":2}
        """
      case .decoder:
        """
        {"model_type":"qwen3","head_dim":32,"hidden_size":64,"num_hidden_layers":4,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":160,"max_position_embeddings":320,"vocab_size":40,
        "rms_norm_eps":1e-5,"tie_word_embeddings":true}
        """
      }
    let folder = try RandomCheckpoint(label: "tape", configJSON: config)
    let base = try BaseModel(Checkpoint(directory: folder.directory))
    let starts = Array(stride(from: 0, through: 600, by: longest)) + (600 % longest == 0 ? [] : [600])
    let batch = PackedBatch(ids: (0..<600).map { Int32($0 % 40) }, starts: starts)
    let patch = FactorPatch(base.sites, adapted: Set(base.sites.indices), rank: 1)
    for recomputes in [false, true] {
      let arena = Arena()
      arena.scope {
        let tape = base.forwardForTraining(
          batch, patch: patch, dropout: nil, recomputes: recomputes, arena: arena)
        base.backward(tape, dHidden: tape.hidden, patch: patch, arena: arena)
      }
      let share =
        Double(base.tapeBytes(tokens: 600, longest: longest, recomputes: recomputes))
        / Double(arena.peakBytes)
      print("\(family), texts of \(longest), recomputes \(recomputes): \(share) of the peak")
      #expect((0.5...1.5).contains(share))
    }
  }

  @Test func `sites have the names that users of a family know`() {
    let decoder = ModelFamily.decoder
    #expect(
      decoder.siteNames == [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "attention",
        "feed_forward", "all",
      ])
    #expect(decoder.siteKinds(named: "up_proj") == [.intermediate])
    #expect(decoder.siteKinds(named: "query") == [.query])
    #expect(decoder.siteKinds(named: "attention") == [.query, .key, .value, .attentionOutput])
    #expect(decoder.siteKinds(named: "feed_forward") == [.gate, .intermediate, .output])
    #expect(decoder.siteKinds(named: "all") == SiteKind.decoder)
    let encoder = ModelFamily.encoder
    #expect(encoder.siteKinds(named: "all") == SiteKind.encoder)
    #expect(encoder.siteKinds(named: "feed_forward") == [.intermediate, .output])
    #expect(encoder.siteKinds(named: "attention.output") == [.attentionOutput])
    for name in ["gate", "q_proj", "Query", ""] { #expect(encoder.siteKinds(named: name) == nil) }
    for name in ["proj", "self_attn.q_proj", "dense"] { #expect(decoder.siteKinds(named: name) == nil) }
    #expect(Set(ModelFamily.everySiteName).count == ModelFamily.everySiteName.count)
    for family in ModelFamily.allCases {
      #expect(family.siteNames.allSatisfy(ModelFamily.everySiteName.contains))
      #expect(family.siteKinds.allSatisfy { family.siteKinds(named: family.name(of: $0)) == [$0] })
    }
  }
}

@Suite struct ModelProbeTests {
  private static func probe(_ directory: String) throws -> ModelProbe {
    let checkpoint = try Checkpoint(directory: directory)
    return try ModelProbe(checkpoint, BaseModel(checkpoint))
  }

  @Test func `equal weights give equal figures, others do not`() throws {
    let shape = MadeDecoder.Shape()
    let made = try MadeDecoder(shape)
    let first = try Self.probe(made.directory)
    #expect(first.hiddenShape == [16, 48] && first.scoreShape == [16, 120])
    #expect(first.sites.map(\.kind) == SiteKind.decoder)
    #expect(first.sites[1].outputs == 32 && first.sites[3].inputs == 64)
    // Uniform in ±0.2: each weight's square is 0.04/3 on average.
    let expected = (Double(48 * 64) * 0.04 / 3).squareRoot()
    #expect(
      first.sites[0].norms.contains(expected) || abs(first.sites[0].norms.lowerBound / expected - 1) < 0.05)
    // The last norm's gain is about 1, so a row's length is about √48.
    #expect(abs(first.hiddenNorm / 48.0.squareRoot() - 1) < 0.1)
    let again = try Self.probe(made.directory)
    #expect(again.outputDigest == first.outputDigest && again.scoreNorm == first.scoreNorm)
    let other = try MadeDecoder(shape) { $0[0].values[0] += 0.5 }
    #expect(try Self.probe(other.directory).outputDigest != first.outputDigest)
    let folder = try BaseModelTests.folder(.encoder)
    let encoder = try Self.probe(folder.directory)
    #expect(encoder.hiddenShape == [7, 16] && encoder.scoreShape == nil && encoder.scoreNorm == nil)
  }

  @Test func `a weight that is not finite is named`() throws {
    let name = "model.layers.1.mlp.gate_proj.weight"
    let made = try MadeDecoder { tensors in
      for index in tensors.indices where tensors[index].name == name { tensors[index].values[7] = .nan }
    }
    #expect(throws: ModelError.notFinite(name: name)) { try Self.probe(made.directory) }
    let norms = try MadeDecoder { tensors in
      for index in tensors.indices where tensors[index].name == "model.norm.weight" {
        tensors[index].values[0] = .infinity
      }
    }
    #expect(throws: ModelError.notFinite(name: "the hidden states")) { try Self.probe(norms.directory) }
  }
}
