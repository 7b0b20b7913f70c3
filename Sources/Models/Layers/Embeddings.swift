internal import Tensors

/// Token, position and segment vectors, read from the mapped file row by row.
///
///     x[t] = norm(word[id t] + position[t − start] + type[segment t])          x [T, D]
///
/// Nothing below is trained, so there is no backward. Positions and segments are few and resident; words stay mapped.
struct Embeddings: Sendable {
  private let words: TokenTable
  private let positions: FrozenVector
  private let types: FrozenVector
  private let norm: ResidualNorm
  private let width: Int

  init(
    _ configuration: EncoderConfiguration, _ weights: WeightMap, as element: PackedElement
  ) throws(ModelError) {
    words = .mapped(try weights.tensor(WeightMap.wordEmbeddings), as: element)
    let positionTensor = try weights.tensor(WeightMap.positionEmbeddings)
    positions = FrozenVector(try weights.floats(positionTensor))
    types = FrozenVector(try weights.floats(WeightMap.typeEmbeddings))
    positionTensor.releasePages()
    norm = try ResidualNorm(
      WeightMap.embeddingNorm, epsilon: configuration.layerNormEpsilon, weights)
    width = configuration.hiddenSize
  }

  var residentBytes: Int {
    (positions.count + types.count) * MemoryLayout<Float>.stride + norm.residentBytes
  }

  /// Overwrites `x` `[T, D]`. Ids, segments and lengths are inside the configuration's.
  func forward(_ batch: PackedBatch, into x: MatrixView) {
    let segments = types.count / width
    for sequence in 0..<batch.count {
      let rows = batch.rows(of: sequence)
      precondition(rows.count * width <= positions.count, "a sequence is longer than the positions")
      for row in rows {
        words.copyRow(batch.ids[row], into: x.row(row))
        let segment = batch.types.isEmpty ? 0 : Int(batch.types[row])
        precondition(segment >= 0 && segment < segments, "a segment is outside the types")
        Elementwise.addRow(types.base + segment * width, to: x.rows(row..<row + 1))
      }
      let known = MatrixView(base: positions.base, rows: rows.count, columns: width, stride: width)
      Elementwise.accumulate(known, into: x.rows(rows))
    }
    norm.normalise(x, into: x)
  }
}
