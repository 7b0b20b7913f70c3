public import Tensors

/// What a backward pass needs of a forward pass. Its views live in the arena until the caller's scope ends.
public final class DecoderTape {
  /// The decoder's normed output `[tokens, width]`.
  public let hidden: MatrixView
  /// The same before the norm, and the norm's inverse roots `[tokens]`.
  let output: MatrixView
  let inverse: UnsafeMutablePointer<Float>
  let spans: AttentionSpans
  /// The lowest layer that was recorded; those below need no gradient.
  let firstLayer: Int
  let layers: [Layer]

  enum Layer {
    case whole(DecoderBlock.Tape)
    /// The layer's input; its tape is computed again when it is needed.
    case input(MatrixView)
  }

  init(
    hidden: MatrixView, output: MatrixView, inverse: UnsafeMutablePointer<Float>, spans: AttentionSpans,
    firstLayer: Int, layers: [Layer]
  ) {
    self.hidden = hidden
    self.output = output
    self.inverse = inverse
    self.spans = spans
    self.firstLayer = firstLayer
    self.layers = layers
  }
}
