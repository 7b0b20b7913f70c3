public import Digests
public import Tensors

/// The resident base: an encoder of the BERT family with packed projections and mapped word embeddings. Immutable.
public final class Encoder: Sendable {
  public let configuration: EncoderConfiguration
  public let sites: [Site]
  /// The checkpoint's digest.
  public let digest: Digest
  /// Elements of the checkpoint's tensors, its pooler and classifier included.
  public let parameterCount: Int
  /// What the packed projections hold.
  public let element: PackedElement
  /// Bytes that stay in memory: packed projections, biases, norms, positions, segments, pooler and classifier. Word
  /// embeddings are the system's page cache and not counted.
  public let residentBytes: Int
  /// The checkpoint's own pooler (`pooler.dense`, followed by tanh), where it has one.
  public let pooler: DenseWeights?
  /// The checkpoint's own classifier, where it has one.
  public let classifier: DenseWeights?
  private let embeddings: Embeddings
  private let blocks: [Block]

  /// Packs the projections; the pages of the mapping that they came from are given back one by one.
  /// - Parameters:
  ///   - checkpoint: of an encoder.
  ///   - element: what the packed projections hold; word embeddings are rounded alike, the rest stays float32.
  /// - Throws: `.unsupportedArchitecture` for a decoder; `.weights` when the file has changed since the checkpoint was
  ///   opened.
  public init(_ checkpoint: Checkpoint, as element: PackedElement = .float32) throws(ModelError) {
    guard case .encoder(let configuration) = checkpoint.configuration else {
      throw .unsupportedArchitecture(checkpoint.configuration.modelType)
    }
    self.configuration = configuration
    sites = checkpoint.sites
    digest = checkpoint.digest
    parameterCount = checkpoint.parameterCount
    self.element = element
    embeddings = try Embeddings(configuration, checkpoint.weights, as: element)
    var blocks: [Block] = []
    for layer in 0..<configuration.layers {
      let first = layer * SiteKind.encoder.count
      let own = checkpoint.sites[first..<first + SiteKind.encoder.count]
      blocks.append(try Block(layer: layer, own, configuration, checkpoint.weights, as: element))
    }
    self.blocks = blocks
    pooler = try checkpoint.pooler()
    classifier = try checkpoint.classifier()
    let heads = [pooler, classifier].reduce(0) {
      $0 + ($1.map { $0.weight.values.count + $0.bias.count } ?? 0) * MemoryLayout<Float>.stride
    }
    residentBytes =
      blocks.reduce(0) { $0 + $1.residentBytes } + embeddings.residentBytes + heads
  }

  /// The hidden states of a batch. A sequence's bits do not depend on the sequences beside it.
  ///
  /// - Parameters:
  ///   - batch: ids, segments and lengths inside the configuration's.
  ///   - patch: adapters, nil for the bare base.
  ///   - arena: besides the result, scratch of 5·T·D + max(T·I, n² of the longest sequence) floats is taken and given
  ///     back.
  /// - Returns: `[tokens, width]`, valid until the caller's scope ends.
  public func forward(
    _ batch: PackedBatch, patch: (any ProjectionPatch)?, arena: Arena
  ) -> MatrixView {
    let x = arena.matrix(batch.rows, configuration.hiddenSize)
    embeddings.forward(batch, into: x)
    for block in blocks { block.forward(x, batch: batch, patch: patch, dropout: nil, arena: arena) }
    return x
  }

  /// The same hidden states bit for bit, except for `dropout`, with what `backward` needs from the lowest adapted
  /// layer up.
  ///
  /// - Parameter recomputes: keep each layer's input only and compute the rest again in `backward`, one layer at a
  ///   time: T·D floats a layer in place of about 10·T·D + 2·T·I + heads·Σn², for a third more work.
  public func forwardForTraining(
    _ batch: PackedBatch, patch: any ProjectionPatch, dropout: DropoutMask?, recomputes: Bool = false,
    arena: Arena
  ) -> EncoderTape {
    var x = arena.matrix(batch.rows, configuration.hiddenSize)
    embeddings.forward(batch, into: x)
    dropout?.apply(.embeddings, batch: batch, to: x)
    let first = min(patch.lowestAdaptedLayer ?? blocks.count, blocks.count)
    for block in blocks[..<first] {
      block.forward(x, batch: batch, patch: patch, dropout: dropout, arena: arena)
    }
    var layers: [EncoderTape.Layer] = []
    for block in blocks[first...] {
      let y = arena.matrix(x.rows, x.columns)
      if recomputes {
        y.copy(from: x)
        block.forward(y, batch: batch, patch: patch, dropout: dropout, arena: arena)
        layers.append(.input(x))
      } else {
        layers.append(
          .whole(
            block.forwardForTraining(x, batch: batch, patch: patch, dropout: dropout, arena: arena, into: y)))
      }
      x = y
    }
    return EncoderTape(hidden: x, batch: batch, dropout: dropout, firstLayer: first, layers: layers)
  }

  /// Accumulates the gradients of the adapted sites inside the patch, from the top down to the lowest of them.
  ///
  /// - Parameters:
  ///   - tape: of this encoder and of the same patch, its arena scope still open.
  ///   - dHidden: gradient at `tape.hidden`, untouched.
  public func backward(
    _ tape: EncoderTape, dHidden: MatrixView, patch: any ProjectionPatch, arena: Arena
  ) {
    guard !tape.layers.isEmpty else { return }
    arena.scope {
      let d = arena.matrix(dHidden.rows, dHidden.columns)
      d.copy(from: dHidden)
      for (offset, layer) in tape.layers.enumerated().reversed() {
        let block = blocks[tape.firstLayer + offset]
        arena.scope {
          let blockTape: Block.Tape
          switch layer {
          case .whole(let whole): blockTape = whole
          case .input(let x):
            blockTape = block.forwardForTraining(
              x, batch: tape.batch, patch: patch, dropout: tape.dropout, arena: arena,
              into: arena.matrix(x.rows, x.columns))
          }
          block.backward(
            d, tape: blockTape, batch: tape.batch, patch: patch, dropout: tape.dropout,
            isLowest: offset == 0, arena: arena)
        }
      }
    }
  }
}
