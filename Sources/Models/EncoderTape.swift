public import Tensors

/// What a backward pass needs of a forward pass. Its views live in the arena until the caller's scope ends.
public final class EncoderTape {
  /// The encoder's output `[tokens, width]`.
  public let hidden: MatrixView
  let batch: PackedBatch
  let dropout: DropoutMask?
  /// The lowest layer that was recorded; those below need no gradient.
  let firstLayer: Int
  let layers: [Layer]

  enum Layer {
    case whole(Block.Tape)
    /// The layer's input; its tape is computed again when it is needed.
    case input(MatrixView)
  }

  init(
    hidden: MatrixView, batch: PackedBatch, dropout: DropoutMask?, firstLayer: Int, layers: [Layer]
  ) {
    self.hidden = hidden
    self.batch = batch
    self.dropout = dropout
    self.firstLayer = firstLayer
    self.layers = layers
  }
}
