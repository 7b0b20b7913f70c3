public import Digests
internal import Tensors

/// A look at a checkpoint's numbers: the norms of its projections, and a short forward pass. For a person who asks
/// whether a folder is what it should be; nothing is served meanwhile.
public struct ModelProbe: Sendable {
  /// The sites of one kind in all layers.
  public struct SiteNorms: Sendable {
    public let kind: SiteKind
    public let inputs: Int
    public let outputs: Int
    /// Frobenius norms of the weights, over the layers.
    public let norms: ClosedRange<Double>
  }

  /// Tokens of the pass.
  public static let tokens = 16

  public let sites: [SiteNorms]
  /// `[tokens, width]`
  public let hiddenShape: [Int]
  /// Mean Euclidean length of a hidden state.
  public let hiddenNorm: Double
  /// `[tokens, vocabulary]`; nil for an encoder, which has no scores.
  public let scoreShape: [Int]?
  /// Mean Euclidean length of a token's scores.
  public let scoreNorm: Double?
  /// SHA-256 of the hidden states' bits: equal for equal weights in one format on one instruction set.
  public let outputDigest: Digest

  /// - Parameter model: of the same checkpoint.
  /// - Throws: `.notFinite` naming the first projection, or the pass, that gives a NaN or an infinity.
  public init(_ checkpoint: Checkpoint, _ model: BaseModel) throws(ModelError) {
    BLAS.useOneThread()
    var found: [SiteKind: (least: Double, greatest: Double)] = [:]
    for site in checkpoint.sites {
      let values = try checkpoint.weight(of: site).values
      let norm = values.withUnsafeBufferPointer { Elementwise.sumOfSquares($0) }.squareRoot()
      guard norm.isFinite else { throw .notFinite(name: site.name + ".weight") }
      let (least, greatest) = found[site.kind] ?? (norm, norm)
      found[site.kind] = (min(least, norm), max(greatest, norm))
    }
    sites = checkpoint.sites.prefix(model.family.siteKinds.count).map { site in
      let (least, greatest) = found[site.kind] ?? (0, 0)
      return SiteNorms(kind: site.kind, inputs: site.inputs, outputs: site.outputs, norms: least...greatest)
    }
    let batch = Self.batch(model.configuration)
    let arena = Arena()
    var scores: (shape: [Int], norm: Double)?
    let hidden = arena.scope {
      let hidden = model.forward(batch, patch: nil, arena: arena)
      if case .decoder(let decoder) = model {
        let logits = Matrix(decoder.logits(hidden, arena: arena))
        scores = ([logits.rows, logits.columns], Self.meanLength(logits))
      }
      return Matrix(hidden)
    }
    hiddenShape = [hidden.rows, hidden.columns]
    hiddenNorm = Self.meanLength(hidden)
    (scoreShape, scoreNorm) = (scores?.shape, scores?.norm)
    guard hiddenNorm.isFinite else { throw .notFinite(name: "the hidden states") }
    guard scores?.norm.isFinite ?? true else { throw .notFinite(name: "the scores") }
    outputDigest = hidden.values.withUnsafeBytes { Digest.sha256(of: $0) }
  }

  /// One text of ids that lie apart in the vocabulary.
  private static func batch(_ configuration: ModelConfiguration) -> PackedBatch {
    let count = min(tokens, configuration.positions)
    let step = max(1, configuration.vocabularySize / count)
    let ids = (0..<count).map { Int32($0 * step % configuration.vocabularySize) }
    return PackedBatch(ids: ids, starts: [0, count])
  }

  private static func meanLength(_ matrix: Matrix) -> Double {
    let lengths = (0..<matrix.rows).map { row in
      matrix.values[row * matrix.columns..<(row + 1) * matrix.columns]
        .reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    }
    return lengths.reduce(0, +) / Double(lengths.count)
  }
}
