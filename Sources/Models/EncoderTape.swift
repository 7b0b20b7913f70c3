public import Tensors

/// What a backward pass needs of a forward pass. Its views live in the arena until the caller's scope ends.
public final class EncoderTape {
  /// The encoder's output `[tokens, width]`.
  public let hidden: MatrixView
  let batch: PackedBatch
  let dropout: DropoutMask?
  /// The lowest layer that was recorded; those below need no gradient.
  let firstLayer: Int
  let blocks: [Block.Tape]

  init(
    hidden: MatrixView, batch: PackedBatch, dropout: DropoutMask?, firstLayer: Int, blocks: [Block.Tape]
  ) {
    self.hidden = hidden
    self.batch = batch
    self.dropout = dropout
    self.firstLayer = firstLayer
    self.blocks = blocks
  }
}
