public import Digests
public import Tensors

/// The resident base, of either family: what adapters, training and serving need of it. What only one family has
/// (caches, scores of tokens) is asked of the case.
public enum BaseModel: Sendable {
  case encoder(Encoder)
  case decoder(Decoder)

  /// Packs the weights of a checkpoint of either family.
  /// - Throws: `.weights` when the file has changed since the checkpoint was opened.
  public init(_ checkpoint: Checkpoint, weights format: WeightFormat = .f32) throws(ModelError) {
    switch checkpoint.configuration {
    case .encoder: self = .encoder(try Encoder(checkpoint, as: format.element))
    case .decoder: self = .decoder(try Decoder(checkpoint, as: format.element))
    }
  }

  public var configuration: ModelConfiguration {
    switch self {
    case .encoder(let encoder): .encoder(encoder.configuration)
    case .decoder(let decoder): .decoder(decoder.configuration)
    }
  }

  public var family: ModelFamily { configuration.family }

  /// D, the width of a hidden state.
  public var width: Int { configuration.hiddenSize }

  /// In the order of their indices.
  public var sites: [Site] {
    switch self {
    case .encoder(let encoder): encoder.sites
    case .decoder(let decoder): decoder.sites
    }
  }

  /// The checkpoint's digest, whatever the weights are held as.
  public var digest: Digest {
    switch self {
    case .encoder(let encoder): encoder.digest
    case .decoder(let decoder): decoder.digest
    }
  }

  /// Elements of the checkpoint's tensors.
  public var parameterCount: Int {
    switch self {
    case .encoder(let encoder): encoder.parameterCount
    case .decoder(let decoder): decoder.parameterCount
    }
  }

  /// Bytes that stay in memory; pages of mapped embeddings are the system's.
  public var residentBytes: Int {
    switch self {
    case .encoder(let encoder): encoder.residentBytes
    case .decoder(let decoder): decoder.residentBytes
    }
  }

  public var weightFormat: WeightFormat {
    switch self {
    case .encoder(let encoder): WeightFormat(encoder.element)
    case .decoder(let decoder): WeightFormat(decoder.element)
    }
  }

  /// The checkpoint's own pooler, where it has one.
  public var pooler: DenseWeights? {
    switch self {
    case .encoder(let encoder): encoder.pooler
    case .decoder: nil
    }
  }

  /// The hidden states of whole sequences, as heads read them. A sequence's bits do not depend on the sequences beside
  /// it.
  ///
  /// - Parameters:
  ///   - batch: ids and lengths inside the configuration's; a decoder does not look at segments.
  ///   - patch: adapters, nil for the bare base.
  ///   - arena: scratch is given back, the result stays.
  /// - Returns: `[tokens, width]`, valid until the caller's scope ends.
  public func forward(
    _ batch: PackedBatch, patch: (any ProjectionPatch)?, arena: Arena
  ) -> MatrixView {
    switch self {
    case .encoder(let encoder): encoder.forward(batch, patch: patch, arena: arena)
    case .decoder(let decoder): decoder.forward(batch, patch: patch, arena: arena)
    }
  }

  /// The same hidden states bit for bit, except for `dropout`, with what `backward` needs.
  ///
  /// - Parameters:
  ///   - dropout: nil for a decoder, whose family was trained without.
  ///   - recomputes: keep each layer's input only and compute the rest again in `backward`: the same gradients bit for
  ///     bit in less memory, for about a third more work.
  public func forwardForTraining(
    _ batch: PackedBatch, patch: any ProjectionPatch, dropout: DropoutMask?, recomputes: Bool, arena: Arena
  ) -> BaseTape {
    switch self {
    case .encoder(let encoder):
      return .encoder(
        encoder.forwardForTraining(
          batch, patch: patch, dropout: dropout, recomputes: recomputes, arena: arena))
    case .decoder(let decoder):
      precondition(dropout == nil, "a decoder has no dropout")
      return .decoder(
        decoder.forwardForTraining(batch, patch: patch, recomputes: recomputes, arena: arena))
    }
  }

  /// About what a tape keeps from the forward to the end of the backward pass, in bytes, every layer adapted.
  ///
  /// - Parameters:
  ///   - tokens: of the batch.
  ///   - longest: tokens of its longest sequence: attention's probabilities grow with their square.
  public func tapeBytes(tokens: Int, longest: Int, recomputes: Bool) -> Int {
    let squares = (tokens + longest - 1) / max(longest, 1) * longest * longest
    let (width, layer): (Int, Int) =
      switch configuration {
      case .encoder(let shape):
        (
          shape.hiddenSize,
          tokens * (10 * shape.hiddenSize + 2 * shape.intermediateSize) + shape.heads * squares
        )
      case .decoder(let shape):
        (
          shape.hiddenSize,
          tokens
            * (5 * shape.hiddenSize + 3 * (shape.queryWidth + shape.keyValueWidth) + 3
              * shape.intermediateSize)
            + shape.heads * squares
        )
      }
    let layers = configuration.layers
    return 4 * (recomputes ? layers * tokens * width + layer : layers * layer)
  }

  /// Accumulates the gradients of the adapted sites inside the patch, from the top down to the lowest of them.
  ///
  /// - Parameters:
  ///   - tape: of this model and of the same patch, its arena scope still open.
  ///   - dHidden: gradient at `tape.hidden`, untouched.
  public func backward(
    _ tape: BaseTape, dHidden: MatrixView, patch: any ProjectionPatch, arena: Arena
  ) {
    switch (self, tape) {
    case (.encoder(let encoder), .encoder(let tape)):
      encoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
    case (.decoder(let decoder), .decoder(let tape)):
      decoder.backward(tape, dHidden: dHidden, patch: patch, arena: arena)
    default: preconditionFailure("the tape is of another model")
    }
  }
}

/// What a backward pass needs of a forward pass. Its views live in the arena until the caller's scope ends.
public enum BaseTape {
  case encoder(EncoderTape)
  case decoder(DecoderTape)

  /// The model's output `[tokens, width]`.
  public var hidden: MatrixView {
    switch self {
    case .encoder(let tape): tape.hidden
    case .decoder(let tape): tape.hidden
    }
  }
}
