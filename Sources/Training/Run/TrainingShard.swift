internal import Adapters
internal import Models
public import Tensors

/// A piece of one step or of one validation: some rows and an immutable snapshot of what they need. Any lane may compute
/// it, at any time, in any order.
public struct TrainingShard: Sendable {
  enum Purpose: Sendable {
    /// Forward, loss and backward; `scale` is one over the batch's weight.
    case train(scale: Float)
    /// Forward alone, with the mask of training, for a loss over the whole batch.
    case embed
    /// Forward and backward from the batch's gradient at this shard's embeddings.
    case contrast(dOutputs: [Float])
    /// Forward alone, without dropout.
    case evaluate
  }

  let context: StepContext
  let purpose: Purpose
  let rows: [Int]
  /// Tokens in it: the cost of computing it.
  public let tokens: Int

  init(_ context: StepContext, _ purpose: Purpose, rows: [Int]) {
    self.context = context
    self.purpose = purpose
    self.rows = rows
    tokens = rows.reduce(0) { $0 + context.set.rows[$1].tokens }
  }
}

/// What a shard gives.
public struct ShardResult: Sendable {
  /// Laid out as the parameters; empty where nothing was differentiated.
  let gradients: [Float]
  /// Σ w·l.
  let loss: Double
  /// `[texts, width]` row after row; empty for training shards.
  let outputs: [Float]
  public let tokens: Int
}

extension TrainingRun {
  /// Computes a shard on the calling lane. Pure: equal shards give equal bytes.
  public static func compute(_ shard: TrainingShard, arena: Arena) -> ShardResult {
    arena.scope {
      let context = shard.context
      let batch = context.set.packed(shard.rows)
      switch shard.purpose {
      case .evaluate: return evaluate(shard, batch, arena)
      case .train(let scale) where context.settings.kind == .generation:
        return write(shard, batch, scale: scale, arena)
      case .train(let scale):
        return differentiate(shard, batch, arena) { head, tape in
          let dOutputs = arena.matrix(tape.outputs.rows, tape.outputs.columns)
          let loss = Loss.rows(
            tape.outputs, shard.rows.map { context.set.rows[$0] }, offset: context.set.offset,
            deviation: context.set.scale, scale: scale, dOutputs: dOutputs)
          return (loss, dOutputs)
        }
      case .embed: return differentiate(shard, batch, arena) { _, _ in nil }
      case .contrast(let dOutputs):
        return differentiate(shard, batch, arena) { _, tape in
          let columns = tape.outputs.columns
          return (
            0, arena.matrix(copying: Matrix(rows: tape.outputs.rows, columns: columns, values: dOutputs))
          )
        }
      }
    }
  }

  private static func evaluate(_ shard: TrainingShard, _ batch: PackedBatch, _ arena: Arena) -> ShardResult {
    let context = shard.context
    let patch = TrainingPatch(context, gradients: nil)
    if context.settings.kind == .generation {
      let loss = context.set.writingLoss(of: shard.rows, base: context.base, arena: arena) { _ in patch }
      return ShardResult(gradients: [], loss: loss, outputs: [], tokens: batch.ids.count)
    }
    let hidden = context.base.forward(batch, patch: patch, arena: arena)
    let tape = HeadForward.run(
      context.head, hidden: hidden, starts: batch.starts, sequences: 0..<batch.starts.count - 1, arena: arena)
    let loss = Loss.rows(
      tape.outputs, shard.rows.map { context.set.rows[$0] }, offset: context.set.offset,
      deviation: context.set.scale, scale: 1, dOutputs: nil)
    return ShardResult(
      gradients: [], loss: loss, outputs: Matrix(tape.outputs).values, tokens: batch.ids.count)
  }

  /// The same from the loss of the tokens to write; the base's own head answers, so sites alone have gradients.
  private static func write(
    _ shard: TrainingShard, _ batch: PackedBatch, scale: Float, _ arena: Arena
  ) -> ShardResult {
    let context = shard.context
    guard case .decoder(let decoder) = context.base else { preconditionFailure("an encoder does not write") }
    var gradients = [Float](repeating: 0, count: context.layout.count)
    let loss = gradients.withUnsafeMutableBufferPointer { buffer in
      let patch = TrainingPatch(context, gradients: buffer.baseAddress)
      let tape = decoder.forwardForTraining(
        batch, patch: patch, recomputes: context.settings.recompute, arena: arena)
      let dHidden = arena.matrix(tape.hidden.rows, tape.hidden.columns)
      let loss = TokenLoss.run(
        decoder, hidden: tape.hidden, TokenLoss.places(shard.rows.map { context.set.rows[$0] }, in: batch),
        scale: scale, dHidden: dHidden, arena: arena)
      decoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
      return loss
    }
    return ShardResult(gradients: gradients, loss: loss, outputs: [], tokens: batch.ids.count)
  }

  /// Forward as in training, then backward from what `loss` makes of the outputs; nil: outputs alone are wanted.
  private static func differentiate(
    _ shard: TrainingShard, _ batch: PackedBatch, _ arena: Arena,
    loss: (HeadViews, HeadTape) -> (loss: Double, dOutputs: MatrixView)?
  ) -> ShardResult {
    let context = shard.context
    var gradients = [Float](repeating: 0, count: context.layout.count)
    return gradients.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else {
        return ShardResult(gradients: [], loss: 0, outputs: [], tokens: batch.ids.count)
      }
      let patch = TrainingPatch(context, gradients: base)
      let adapts = patch.lowestAdaptedLayer != nil
      let dropout = DropoutMask.mask(context, rows: shard.rows)
      let tape =
        adapts || dropout != nil
        ? context.base.forwardForTraining(
          batch, patch: patch, dropout: dropout, recomputes: context.settings.recompute, arena: arena) : nil
      let hidden = tape?.hidden ?? context.base.forward(batch, patch: nil, arena: arena)
      let head = context.head
      let headTape = HeadForward.run(
        head, hidden: hidden, starts: batch.starts, sequences: 0..<batch.starts.count - 1, arena: arena)
      guard let (loss, dOutputs) = loss(head, headTape) else {
        return ShardResult(
          gradients: [], loss: 0, outputs: Matrix(headTape.outputs).values, tokens: batch.ids.count)
      }
      let dHidden = arena.matrix(hidden.rows, hidden.columns)
      HeadBackward.run(
        head, headTape, dOutputs: dOutputs, starts: batch.starts, gradients: context.headGradients(base),
        arena: arena, into: dHidden)
      if adapts, let tape { context.base.backward(tape, dHidden: dHidden, patch: patch, arena: arena) }
      return ShardResult(gradients: Array(buffer), loss: loss, outputs: [], tokens: batch.ids.count)
    }
  }
}

extension DropoutMask {
  /// The mask of a step: a function of seed, step and text, so that the same text gets the same mask whatever its shard.
  static func mask(_ context: StepContext, rows: [Int]) -> DropoutMask? {
    guard context.settings.dropout > 0 else { return nil }
    var random = RandomSource(seed: context.settings.seed, stream: stream + UInt64(context.step))
    let keys = rows.flatMap { context.set.rows[$0].texts.map { UInt64($0.lowerBound) } }
    return DropoutMask(rate: context.settings.dropout, seed: random.next(), sequenceKeys: keys)
  }

  private static let stream: UInt64 = 0x5eed_1000_0000
}
