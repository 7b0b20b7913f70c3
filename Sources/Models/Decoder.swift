public import Digests
public import Tensors

/// New tokens of one sequence: a piece of its prompt, or the token that was chosen last.
public struct DecoderInput {
  /// With room for the tokens: `reserve` has said so.
  public let sequence: KVSequence
  /// At least one.
  public let tokens: [Int32]

  public init(sequence: KVSequence, tokens: [Int32]) {
    precondition(!tokens.isEmpty, "an input has tokens")
    self.sequence = sequence
    self.tokens = tokens
  }
}

/// The resident base: a decoder of the Llama family with packed projections and output head. Immutable.
///
/// A row's bits depend on nothing but its sequence's tokens and adapter: not on its neighbours, not on how a prompt was
/// cut into pieces, not on whether a prefix was shared. docs/decisions/0010-decoder.md says why.
public final class Decoder: Sendable {
  public let configuration: DecoderConfiguration
  public let sites: [Site]
  /// The checkpoint's digest.
  public let digest: Digest
  /// Elements of the checkpoint's tensors; tied embeddings count once.
  public let parameterCount: Int
  /// What the packed weights hold.
  public let element: PackedElement
  /// Bytes that stay in memory: packed projections and head, biases and norms. Embeddings that are not the head's are
  /// the system's page cache and not counted.
  public let residentBytes: Int
  private let tokens: TokenTable
  private let blocks: [DecoderBlock]
  private let finalNorm: RMSNorm
  private let head: PackedWeights
  private let rotary: RotaryPositions

  /// Packs the projections and the head; the pages of the mapping that they came from are given back one by one.
  /// - Parameters:
  ///   - checkpoint: of a decoder.
  ///   - element: what the packed matrices hold; norms and biases stay float32.
  /// - Throws: `.unsupportedArchitecture` for an encoder; `.weights` when the file has changed since the checkpoint was
  ///   opened.
  public init(_ checkpoint: Checkpoint, as element: PackedElement = .float32) throws(ModelError) {
    guard case .decoder(let configuration) = checkpoint.configuration else {
      throw .unsupportedArchitecture(checkpoint.configuration.modelType)
    }
    let weights = checkpoint.weights
    self.configuration = configuration
    self.element = element
    sites = checkpoint.sites
    digest = checkpoint.digest
    parameterCount = checkpoint.parameterCount
    let table = try weights.tensor(WeightMap.tokens)
    if configuration.tiesEmbeddings {
      head = try weights.packed(WeightMap.tokens, as: element)
      tokens = .packed(head)
    } else {
      head = try weights.packed(WeightMap.head, as: element)
      tokens = .mapped(table, as: element)
    }
    let count = SiteKind.decoder.count
    var blocks: [DecoderBlock] = []
    for layer in 0..<configuration.layers {
      blocks.append(
        try DecoderBlock(
          layer: layer, checkpoint.sites[layer * count..<(layer + 1) * count], configuration, weights,
          as: element))
    }
    self.blocks = blocks
    finalNorm = try RMSNorm(WeightMap.finalNorm, epsilon: configuration.rmsNormEpsilon, weights)
    rotary = RotaryPositions(configuration)
    residentBytes =
      blocks.reduce(0) { $0 + $1.residentBytes } + finalNorm.residentBytes + head.residentBytes
  }

  private func embed(_ ids: [Int32], arena: Arena) -> MatrixView {
    let x = arena.matrix(ids.count, configuration.hiddenSize)
    for (row, id) in ids.enumerated() { tokens.copyRow(id, into: x.row(row)) }
    return x
  }

  /// The normed hidden states of whole sequences.
  ///
  /// - Parameters:
  ///   - batch: ids and lengths inside the configuration's; a decoder has no segments.
  ///   - patch: adapters, nil for the bare base.
  ///   - arena: besides the result, what it takes is given back: one layer's scratch, and the keys and values of one
  ///     layer.
  /// - Returns: `[tokens, width]`, valid until the caller's scope ends.
  public func forward(
    _ batch: PackedBatch, patch: (any ProjectionPatch)?, arena: Arena
  ) -> MatrixView {
    let x = embed(batch.ids, arena: arena)
    arena.scope {
      let spans = AttentionSpans(batch, configuration, rotary, element: element.keyValues, arena: arena)
      for block in blocks { block.forward(x, spans: spans, patch: patch, arena: arena) }
    }
    finalNorm.forward(x, into: x)
    return x
  }

  /// The normed hidden states of the next tokens of some sequences, which are then part of them: a step of decoding,
  /// pieces of prompts, or both at once.
  ///
  /// - Parameter inputs: each of another sequence, of this decoder's shape.
  /// - Returns: `[tokens, width]`, input after input, valid until the caller's scope ends.
  public func forward(
    _ inputs: [DecoderInput], patch: (any ProjectionPatch)?, arena: Arena
  ) -> MatrixView {
    precondition(
      Set(inputs.map { ObjectIdentifier($0.sequence) }).count == inputs.count, "a sequence has one input")
    let x = embed(inputs.flatMap(\.tokens), arena: arena)
    arena.scope {
      let spans = AttentionSpans(inputs, configuration, rotary, arena: arena)
      for block in blocks { block.forward(x, spans: spans, patch: patch, arena: arena) }
    }
    for input in inputs { input.sequence.advance(input.tokens.count) }
    finalNorm.forward(x, into: x)
    return x
  }

  /// Scores of every token of the vocabulary.   hidden `[rows, width]`, normed; the result `[rows, vocabulary]`.
  public func logits(_ hidden: MatrixView, arena: Arena) -> MatrixView {
    let logits = arena.matrix(hidden.rows, configuration.vocabularySize)
    head.multiply(hidden, bias: nil, extra: nil, accumulate: false, crew: arena.crew, into: logits)
    return logits
  }

  /// dHidden = dLogits·head: the head is frozen.   dLogits `[rows, vocabulary]`, dHidden `[rows, width]`.
  public func logitsBackward(_ dLogits: MatrixView, into dHidden: MatrixView) {
    head.multiplyTransposed(dLogits, accumulate: false, into: dHidden)
  }

  /// The same hidden states bit for bit, with what `backward` needs from the lowest adapted layer up.
  ///
  /// - Parameter recomputes: keep each layer's input only and compute the rest again in `backward`, one layer at a
  ///   time: T·D floats a layer in place of about 8·T·D + 3·T·I + heads·Σn², for a third more work.
  public func forwardForTraining(
    _ batch: PackedBatch, patch: any ProjectionPatch, recomputes: Bool, arena: Arena
  ) -> DecoderTape {
    var x = embed(batch.ids, arena: arena)
    let spans = AttentionSpans(batch, configuration, rotary, element: element.keyValues, arena: arena)
    let first = min(patch.lowestAdaptedLayer ?? blocks.count, blocks.count)
    for block in blocks[..<first] { block.forward(x, spans: spans, patch: patch, arena: arena) }
    var layers: [DecoderTape.Layer] = []
    for block in blocks[first...] {
      let y = arena.matrix(x.rows, x.columns)
      if recomputes {
        y.copy(from: x)
        block.forward(y, spans: spans, patch: patch, arena: arena)
        layers.append(.input(x))
      } else {
        layers.append(
          .whole(block.forwardForTraining(x, spans: spans, patch: patch, arena: arena, into: y)))
      }
      x = y
    }
    let hidden = arena.matrix(x.rows, x.columns)
    let inverse = arena.floats(x.rows)
    finalNorm.forward(x, into: hidden, inverse: inverse)
    return DecoderTape(
      hidden: hidden, output: x, inverse: inverse, spans: spans, firstLayer: first, layers: layers)
  }

  /// Accumulates the gradients of the adapted sites inside the patch, from the top down to the lowest of them.
  ///
  /// - Parameters:
  ///   - tape: of this decoder and of the same patch, its arena scope still open.
  ///   - dHidden: gradient at `tape.hidden`, untouched.
  public func backward(
    _ tape: DecoderTape, dHidden: MatrixView, patch: any ProjectionPatch, arena: Arena
  ) {
    guard !tape.layers.isEmpty else { return }
    arena.scope {
      let d = arena.matrix(dHidden.rows, dHidden.columns)
      finalNorm.backward(dHidden, input: tape.output, inverse: tape.inverse, accumulate: false, into: d)
      for (offset, layer) in tape.layers.enumerated().reversed() {
        let block = blocks[tape.firstLayer + offset]
        arena.scope {
          let blockTape: DecoderBlock.Tape
          switch layer {
          case .whole(let whole): blockTape = whole
          case .input(let x):
            blockTape = block.forwardForTraining(
              x, spans: tape.spans, patch: patch, arena: arena, into: arena.matrix(x.rows, x.columns))
          }
          block.backward(
            d, tape: blockTape, spans: tape.spans, patch: patch, isLowest: offset == 0, arena: arena)
        }
      }
    }
  }
}
