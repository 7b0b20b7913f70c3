import Adapters
import Foundation
import Models
import Tensors

/// Training steps on completions, for their memory: the forward pass keeps each layer's input, the loss takes the
/// vocabulary some rows at a time, and A of every site has its gradient and moments.
struct FineTuning {
  static let sequences = 4
  static let tokens = 128
  private static let steps = 2
  /// Rows whose scores are in memory at once.
  private static let lossRows = 128

  private let decoder: Decoder
  private let patch: CoefficientPatch
  private let arena = Arena()

  init(model: String) throws {
    decoder = try Decoder(Checkpoint(directory: model), as: .bfloat16Pairs)
    patch = try CoefficientPatch(decoder)
  }

  /// The most that was resident while it ran, in bytes, the base and what loading it took included.
  func peakBytes() throws -> Int {
    let prompts = DecodePrompts.random(
      Self.sequences, tokens: Self.tokens, vocabulary: decoder.configuration.vocabularySize)
    for _ in 0..<Self.steps { arena.scope { step(PackedBatch(sequences: prompts)) } }
    return try ResidentMemory.peak()
  }

  private func step(_ batch: PackedBatch) {
    let tape = decoder.forwardForTraining(batch, patch: patch, recomputes: true, arena: arena)
    let dHidden = arena.matrix(batch.rows, decoder.configuration.hiddenSize)
    for start in stride(from: 0, to: batch.rows, by: Self.lossRows) {
      let rows = start..<min(start + Self.lossRows, batch.rows)
      arena.scope {
        let scores = decoder.logits(tape.hidden.rows(rows), arena: arena)
        Elementwise.softmax(scores, into: scores)
        // Each row's target is the token after it; a last row's stands for any.
        for (index, row) in rows.enumerated() {
          scores[index, Int(batch.ids[min(row + 1, batch.rows - 1)])] -= 1
        }
        decoder.logitsBackward(scores, into: dHidden.rows(rows))
      }
    }
    decoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
    patch.update()
  }
}

/// A of every site over one random subspace, its gradient, and the optimiser's moments.
private final class CoefficientPatch: ProjectionPatch {
  private let columns: [PackedWeights?]
  private var coefficients: [Matrix]
  private var gradients: [Matrix]
  private var moments: [[Float]]

  init(_ decoder: Decoder) throws {
    let subspace = try SubspaceExtraction.random(
      sites: decoder.sites, base: decoder.digest, options: .init(rank: DecoderTasks.rank))
    columns = try ResidentSubspace(subspace, sites: decoder.sites).columns
    coefficients = decoder.sites.map { Matrix(zeros: DecoderTasks.rank, $0.inputs) }
    gradients = coefficients
    moments = coefficients.map { [Float](repeating: 0, count: 2 * $0.values.count) }
  }

  func adapts(_ site: Int) -> Bool { true }
  var lowestAdaptedLayer: Int? { 0 }
  func expand(_ site: Int, output: MatrixView, arena: Arena) {}

  func shrink(
    _ site: Int, input: MatrixView, arena: Arena
  ) -> (z: MatrixView, columns: PackedWeights)? {
    guard let columns = columns[site] else { return nil }
    let z = arena.matrix(input.rows, DecoderTasks.rank)
    coefficients[site].withView { Products.nt(input, $0, into: z) }
    return (z, columns)
  }

  func backward(
    _ site: Int, dOutput: MatrixView, input: MatrixView, dInput: MatrixView?, arena: Arena
  ) {
    guard let columns = columns[site] else { return }
    let dZ = arena.matrix(dOutput.rows, DecoderTasks.rank)
    columns.multiplyTransposed(dOutput, accumulate: false, into: dZ)
    gradients[site].withMutableView { Products.tn(dZ, input, accumulate: true, into: $0) }
    if let dInput { coefficients[site].withView { Products.nn(dZ, $0, accumulate: true, into: dInput) } }
  }

  /// Steps of a size that costs what any other does.
  func update() {
    for site in coefficients.indices {
      for index in gradients[site].values.indices {
        moments[site][2 * index] = 0.9 * moments[site][2 * index] + 0.1 * gradients[site].values[index]
        coefficients[site].values[index] -= 1e-3 * moments[site][2 * index]
        gradients[site].values[index] = 0
      }
    }
  }
}
