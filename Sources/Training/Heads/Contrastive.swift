internal import Adapters
internal import Tensors

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Contrastive loss over a batch of pairs: each anchor's own positive against all positives and hard negatives of the
/// batch, by cosine similarity over a temperature (InfoNCE, arXiv 1807.03748; in-batch negatives).
enum Contrastive {
  struct Outcome {
    /// Mean over the anchors.
    let loss: Double
    /// Anchors whose own positive is the most similar.
    let hits: Int
    /// Gradient of the mean loss at the embeddings, laid out as they are.
    let gradients: [Float]
  }

  /// - Parameters:
  ///   - embeddings: `[texts, width]`, rows one after the other: anchor, positive and perhaps a negative each.
  ///   - texts: how many texts (2 or 3) each row has.
  static func run(
    _ embeddings: [Float], width: Int, texts: [Int], temperature: Float, arena: Arena
  ) -> Outcome {
    arena.scope {
      let all = Matrix(rows: embeddings.count / max(width, 1), columns: width, values: embeddings)
      let unit = arena.matrix(copying: all)
      var lengths: [Float] = []
      for row in 0..<unit.rows {
        let length = Float(Elementwise.sumOfSquares(unit.rows(row..<row + 1)).squareRoot())
        lengths.append(length)
        if length > 0 { Elementwise.scale(unit.rows(row..<row + 1), by: 1 / length) }
      }
      var anchors: [Int] = []
      var positives: [Int] = []
      var negatives: [Int] = []
      var at = 0
      for count in texts {
        anchors.append(at)
        positives.append(at + 1)
        if count == 3 { negatives.append(at + 2) }
        at += count
      }
      let candidates = positives + negatives
      let a = gather(unit, anchors, arena)
      let c = gather(unit, candidates, arena)
      let scores = arena.matrix(anchors.count, candidates.count)
      Products.nt(a, c, scale: 1 / temperature, into: scores)
      let (loss, hits) = softmaxInPlace(scores, temperature: temperature)

      let dA = arena.matrix(anchors.count, width)
      let dC = arena.matrix(candidates.count, width)
      Products.nn(scores, c, into: dA)
      Products.tn(scores, a, into: dC)
      let dUnit = arena.matrix(unit.rows, width)
      dUnit.fill(0)
      for (row, index) in anchors.enumerated() {
        dUnit.rows(index..<index + 1).copy(from: dA.rows(row..<row + 1))
      }
      for (row, index) in candidates.enumerated() {
        dUnit.rows(index..<index + 1).copy(from: dC.rows(row..<row + 1))
      }
      // d|x|⁻¹x: the part along the unit vector goes, the rest is divided by the length.
      for row in 0..<unit.rows {
        let (u, d) = (unit.rows(row..<row + 1), dUnit.rows(row..<row + 1))
        guard lengths[row] > 0 else {
          d.fill(0)
          continue
        }
        Elementwise.accumulate(u, scale: -Float(Elementwise.dot(u, d)), into: d)
        Elementwise.scale(d, by: 1 / lengths[row])
      }
      return Outcome(loss: loss, hits: hits, gradients: Matrix(dUnit).values)
    }
  }

  /// Scores become the gradient at themselves, (p − y)/(anchors · temperature).
  private static func softmaxInPlace(_ scores: MatrixView, temperature: Float) -> (loss: Double, hits: Int) {
    var (loss, hits) = (0.0, 0)
    let share = 1 / (Double(scores.rows) * Double(temperature))
    for row in 0..<scores.rows {
      let x = scores.row(row)
      let values = UnsafeBufferPointer(start: x, count: scores.columns)
      let top = values.max() ?? 0
      let powers = values.map { exp(Double($0 - top)) }
      let sum = powers.reduce(0, +)
      loss += log(sum) - Double(x[row] - top)
      if x[row] >= top { hits += 1 }
      for column in 0..<scores.columns {
        x[column] = Float((powers[column] / sum - (column == row ? 1 : 0)) * share)
      }
    }
    return (loss / Double(max(scores.rows, 1)), hits)
  }

  private static func gather(_ view: MatrixView, _ rows: [Int], _ arena: Arena) -> MatrixView {
    let result = arena.matrix(rows.count, view.columns)
    for (row, index) in rows.enumerated() {
      result.rows(row..<row + 1).copy(from: view.rows(index..<index + 1))
    }
    return result
  }
}
