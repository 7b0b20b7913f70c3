public import Models
public import Tensors

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Cross-entropy of next tokens over the base's frozen output head W `[vocabulary, width]`.
///
///     x = W·h[t]        l = log Σ exp(x) − x[id[t + 1]]        dh[t] = scale · w · (softmax(x) − onehot)·W
///
/// Rows alone whose next token is to be written are multiplied, some at a time: of the scores `[tokens, vocabulary]` no
/// more than `limitBytes` are held. A row's bits depend on neither its neighbours nor the cut, and sums go in row order.
enum TokenLoss {
  /// Of the scores held at once.
  static let limitBytes = 32 << 20
  private static let limitRows = 64

  /// Where a token is to be written.
  struct Place: Equatable {
    /// The row of `hidden` that predicts it.
    let row: Int
    let token: Int32
    let weight: Float
  }

  /// The places of some rows, packed end to end, one sequence a row.
  static func places(_ rows: [TrainingSet.Row], in batch: PackedBatch) -> [Place] {
    var places: [Place] = []
    for (index, row) in rows.enumerated() {
      guard case .tokens(let ranges) = row.target else { continue }
      for token in ranges.joined() {
        let at = batch.starts[index] + token
        places.append(Place(row: at - 1, token: batch.ids[at], weight: row.weight))
      }
    }
    return places
  }

  /// Rows multiplied at once.
  static func chunk(vocabulary: Int) -> Int {
    min(limitRows, max(1, limitBytes / (MemoryLayout<Float>.stride * vocabulary)))
  }

  /// - Parameters:
  ///   - hidden: `[tokens, width]`, normed.
  ///   - dHidden: overwritten, every row: gradient of `scale · Σ w·l`, zero where nothing is predicted.
  ///   - arena: what it takes is given back.
  /// - Returns: Σ w·l.
  static func run(
    _ decoder: Decoder, hidden: MatrixView, _ places: [Place], scale: Float, dHidden: MatrixView?,
    arena: Arena
  ) -> Double {
    dHidden?.fill(0)
    let size = chunk(vocabulary: decoder.configuration.vocabularySize)
    var sum = 0.0
    for first in stride(from: 0, to: places.count, by: size) {
      let chunk = places[first..<min(first + size, places.count)]
      arena.scope {
        let x = arena.matrix(chunk.count, hidden.columns)
        for (row, place) in chunk.enumerated() {
          x.rows(row..<row + 1).copy(from: hidden.rows(place.row..<place.row + 1))
        }
        let scores = decoder.logits(x, arena: arena)
        for (row, place) in chunk.enumerated() {
          sum += Double(place.weight) * crossEntropy(scores.rows(row..<row + 1), place, scale: scale)
        }
        guard let dHidden else { return }
        decoder.logitsBackward(scores, into: x)
        for (row, place) in chunk.enumerated() {
          dHidden.rows(place.row..<place.row + 1).copy(from: x.rows(row..<row + 1))
        }
      }
    }
    return sum
  }

  /// The loss of one row; its scores become the gradient at themselves.
  private static func crossEntropy(_ scores: MatrixView, _ place: Place, scale: Float) -> Double {
    let x = scores.row(0)
    let label = Int(place.token)
    var top = 0
    for index in 1..<max(scores.columns, 1) where x[index] > x[top] { top = index }
    let distance = Double(x[top]) - Double(x[label])
    Elementwise.softmax(scores, into: scores)
    // The greatest probability is one over the sum of the exponentials, and never underflows.
    let loss = distance - log(Double(x[top]))
    let factor = scale * place.weight
    Elementwise.scale(scores, by: factor)
    x[label] -= factor
    return loss
  }
}

extension TrainingSet {
  /// The validation rows, cut as a lane takes them.
  public var validationPieces: [[Int]] { shards(validation, limit: TrainingRun.shardTokens) }

  /// Of the validation rows: the sum of their weights, a writer's once for each token to write.
  public var validationMass: Double { validation.reduce(0) { $0 + Double(rows[$1].mass) } }

  /// Σ w·l of some rows of a writer's data, forward alone.
  ///
  /// - Parameters:
  ///   - base: a decoder.
  ///   - patch: the adapter of a batch of so many tokens.
  public func writingLoss(
    of indices: [Int], base: BaseModel, arena: Arena, patch: (Int) -> any ProjectionPatch
  ) -> Double {
    guard case .decoder(let decoder) = base else { preconditionFailure("an encoder does not write") }
    return arena.scope {
      let batch = packed(indices)
      let hidden = decoder.forward(batch, patch: patch(batch.ids.count), arena: arena)
      return TokenLoss.run(
        decoder, hidden: hidden, TokenLoss.places(indices.map { rows[$0] }, in: batch), scale: 1,
        dHidden: nil, arena: arena)
    }
  }
}
