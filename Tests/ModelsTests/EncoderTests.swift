import Models
import Safetensors
import Tensors
import Testing

@Suite struct EncoderTests {
  private func encoder(label: String = "unit") throws -> Encoder {
    let config = """
      {"model_type":"bert","hidden_size":40,"num_hidden_layers":3,"num_attention_heads":5,
      "intermediate_size":56,"max_position_embeddings":40,"vocab_size":90,"type_vocab_size":2,
      "hidden_act":"gelu"}
      """
    let folder = try RandomCheckpoint(label: label, configJSON: config)
    return try Encoder(Checkpoint(directory: folder.directory))
  }

  private func sequences(_ lengths: [Int]) -> [[Int32]] {
    lengths.enumerated().map { index, length in
      GoldenStream.hashes("sequence.\(index)", length).map { Int32($0 % 90) }
    }
  }

  @Test func `a sequence's bits do not depend on its neighbours`() throws {
    let encoder = try encoder()
    let all = sequences([7, 1, 40, 13, 2, 33, 16])
    let together = hiddenStates(encoder, PackedBatch(sequences: all))
    var row = 0
    for sequence in all {
      let alone = hiddenStates(encoder, PackedBatch(sequences: [sequence]))
      let width = together.columns
      #expect(
        Array(together.values[row * width..<(row + sequence.count) * width]) == alone.values,
        "sequence of \(sequence.count) tokens")
      row += sequence.count
    }
  }

  @Test func `scratch is bounded by one layer's, however many layers there are`() throws {
    let encoder = try encoder()
    let batch = PackedBatch(sequences: sequences([40, 40, 17]))
    let arena = Arena()
    let first = hiddenStates(encoder, batch, arena: arena)
    let peak = arena.peakBytes
    // 6 matrices of T·D, one of T·I, 40² scores; each rounded up to 64 bytes.
    let rows = batch.rows
    #expect(peak <= (6 * rows * 40 + rows * 56 + 40 * 40) * 4 + 16 * 64)
    #expect(arena.usedBytes == 0)
    #expect(hiddenStates(encoder, batch, arena: arena) == first)
    #expect(arena.peakBytes == peak)
  }

  @Test func `resident bytes are the packed projections and little else`() throws {
    let encoder = try Encoder(Checkpoint(directory: Fixture.miniLM()))
    let projections = encoder.sites.reduce(0) { $0 + $1.inputs * $1.outputs * 4 }
    let small = 512 * 384 * 4 + 384 * 385 * 4
    #expect(encoder.residentBytes >= projections)
    #expect(encoder.residentBytes <= projections + small + 200_000)
  }

  @Test func `a patch that adapts nothing changes nothing`() throws {
    let encoder = try encoder()
    let batch = PackedBatch(sequences: sequences([5, 9]))
    let patch = FactorPatch(encoder.sites, adapted: [], rank: 2)
    #expect(hiddenStates(encoder, batch, patch: patch) == hiddenStates(encoder, batch))
    let arena = Arena()
    arena.scope {
      let tape = encoder.forwardForTraining(batch, patch: patch, dropout: nil, arena: arena)
      #expect(Matrix(tape.hidden) == hiddenStates(encoder, batch))
      encoder.backward(tape, dHidden: tape.hidden, patch: patch, arena: arena)
    }
    let adapted = FactorPatch(encoder.sites, adapted: [2], rank: 2)
    #expect(hiddenStates(encoder, batch, patch: adapted) != hiddenStates(encoder, batch))
  }

  @Test func `tokens outside the configuration and empty sequences end the process`() async {
    await #expect(processExitsWith: .failure) {
      _ = PackedBatch(ids: [1], starts: [0, 0, 1])
    }
    await #expect(processExitsWith: .failure) {
      _ = hiddenStates(try EncoderTests().encoder(), PackedBatch(sequences: [[90]]))
    }
    await #expect(processExitsWith: .failure) {
      _ = hiddenStates(
        try EncoderTests().encoder(), PackedBatch(sequences: [[Int32](repeating: 1, count: 41)]))
    }
  }

  // MARK: Dropout

  private func dropped(
    _ encoder: Encoder, _ patch: FactorPatch, _ sequences: [[Int32]], keys: [UInt64], seed: UInt64 = 5,
    rate: Float = 0.25
  ) -> Matrix {
    let arena = Arena()
    return arena.scope {
      let mask = DropoutMask(rate: rate, seed: seed, sequenceKeys: keys)
      let tape = encoder.forwardForTraining(
        PackedBatch(sequences: sequences), patch: patch, dropout: mask, arena: arena)
      encoder.backward(tape, dHidden: tape.hidden, patch: patch, arena: arena)
      return Matrix(tape.hidden)
    }
  }

  @Test func `dropout's bits follow the sequence's key and not its place in a batch`() throws {
    let encoder = try encoder()
    let patch = FactorPatch(encoder.sites, adapted: [6], rank: 2)
    let all = sequences([7, 12, 3])
    let together = dropped(encoder, patch, all, keys: [10, 11, 12])
    let alone = dropped(encoder, patch, [all[1]], keys: [11])
    #expect(Array(together.values[7 * 40..<19 * 40]) == alone.values)
    #expect(dropped(encoder, patch, [all[1]], keys: [12]) != alone)
    #expect(dropped(encoder, patch, [all[1]], keys: [11], seed: 6) != alone)
    #expect(
      dropped(encoder, patch, [all[1]], keys: [11], rate: 0)
        == hiddenStates(encoder, PackedBatch(sequences: [all[1]]), patch: patch))
  }

  @Test func `layers that are not recorded have the same masks as those that are`() throws {
    let encoder = try encoder()
    let all = sequences([7, 12, 3])
    let every = FactorPatch(encoder.sites, adapted: Set(0..<18), rank: 2)
    for site in encoder.sites {
      every.replaceA(site.index, [Float](repeating: 0, count: 2 * site.inputs))
    }
    let none = FactorPatch(encoder.sites, adapted: [], rank: 2)
    #expect(none.lowestAdaptedLayer == nil && every.lowestAdaptedLayer == 0)
    #expect(dropped(encoder, none, all, keys: [1, 2, 3]) == dropped(encoder, every, all, keys: [1, 2, 3]))
  }

  /// Under a fixed mask the loss is a plain function of A: its slope along the gradient is the gradient's square.
  @Test func `the backward pass uses the forward pass's masks`() throws {
    let encoder = try encoder()
    let all = sequences([9, 14])
    let batch = PackedBatch(sequences: all)
    let weights = GoldenStream.values("C", batch.rows * 40)
    let mask = DropoutMask(rate: 0.3, seed: 77, sequenceKeys: [1, 2])
    let patch = FactorPatch(encoder.sites, adapted: Set(0..<18), rank: 2)
    func loss(_ patch: FactorPatch, backward: Bool) -> Double {
      let arena = Arena()
      return arena.scope {
        let tape = encoder.forwardForTraining(batch, patch: patch, dropout: mask, arena: arena)
        let dHidden = arena.matrix(copying: Matrix(rows: batch.rows, columns: 40, values: weights))
        if backward { encoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena) }
        return Elementwise.dot(tape.hidden, dHidden)
      }
    }
    _ = loss(patch, backward: true)
    let square = patch.factors.values.reduce(0.0) { sum, factor in
      factor.dA.values.reduce(sum) { $0 + Double($1) * Double($1) }
    }
    let step = 1e-3 / square.squareRoot()
    func moved(_ sign: Double) -> Double {
      let other = FactorPatch(encoder.sites, adapted: Set(0..<18), rank: 2)
      for (site, factor) in patch.factors {
        other.replaceA(
          site, zip(factor.a.values, factor.dA.values).map { $0 + Float(sign * step) * $1 })
      }
      return loss(other, backward: false)
    }
    let slope = (moved(1) - moved(-1)) / (2 * step)
    #expect(abs(slope - square) / square <= Tolerance.floatSlope, "slope \(slope), square \(square)")
  }
}

extension Tolerance {
  /// Central differences of a float32 loss, step 1e-3 along the unit gradient: rounding leaves about 1e-3.
  static let floatSlope = 5e-3
}
