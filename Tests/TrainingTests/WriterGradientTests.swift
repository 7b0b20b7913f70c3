import Adapters
import Foundation
import Models
import Safetensors
import Tensors
import TestSupport
import Testing

@testable import Training

/// Gradients of the tokens to write.
struct WriterGradientTests {
  /// ‖a − b‖ / ‖b‖ of float32 against sums in Double.
  private static let tolerance = 1e-5

  /// The second half of each row, and a stretch before it in one of them, as the recording script has it.
  private static func targets(_ length: Int) -> [Range<Int>] {
    let half = max(1, length / 2)..<length
    return length == 40 ? [3..<7, half] : [half]
  }

  /// All seven sites of a decoder with tied embeddings, against torch.
  @Test(arguments: [false, true])
  func decoderEqualsTorch(_ recompute: Bool) throws {
    let shape = MadeDecoder.Shape()
    let made = try MadeDecoder(shape)
    let base = try BaseModel(Checkpoint(directory: made.directory))
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Goldens/gradients/decoder-tokens.safetensors")
    let recorded = try SafetensorsDocument(bytes: Array(Data(contentsOf: file)))
    let rows = GradientTests.rows(lengths: [3, 11, 26, 7, 40, 19], vocabulary: shape.vocabulary)
    let set = try TrainingSet(
      examples: rows.enumerated().map {
        .completion(prompt: "", completion: "\($0)", weight: $1.weight)
      }, kind: .generation, validation: 0, seed: 0, labels: nil,
      write: { (_, row) throws(TrainingError) in
        .init(ids: rows[row].ids, targets: Self.targets(rows[row].ids.count))
      }, encode: { _, _ in ([], [], false) })
    var updates: [String: SiteUpdate] = [:]
    for site in base.sites {
      updates[site.name] = SiteUpdate(
        coefficients: streamMatrix("\(site.name).A", GradientTests.rank, site.inputs, scale: 0.05),
        privateBasis: streamMatrix("\(site.name).B", site.outputs, GradientTests.rank, scale: 0.05))
    }
    let from = AdapterVersion(
      kind: .generation, method: "lora", rank: GradientTests.rank, alpha: GradientTests.alpha,
      base: base.digest, subspace: nil, updates: updates, head: Head(pooling: .last))
    var settings = TrainingSettings.defaults(kind: .generation, method: "lora", on: .decoder)
    settings.rank = from.rank
    settings.alpha = from.alpha
    settings.batchSize = rows.count
    settings.validation = 0
    settings.recompute = recompute
    let run = try TrainingRun(base: base, subspace: nil, set: set, settings: settings, from: from)
    guard case .step(let shards) = run.nextWork() else {
      Issue.record("no step")
      return
    }
    let arena = Arena()
    let results = shards.map { TrainingRun.compute($0, arena: arena) }
    let mass = set.rows.reduce(0.0) { $0 + Double($1.mass) }
    let loss = results.reduce(0) { $0 + $1.loss } / mass
    let expected = try #require(recorded.metadata["loss"].flatMap(Double.init))
    #expect(abs(loss - expected) < 1e-5)
    #expect(run.layout.tensors.count == recorded.entries.count)
    var worst = 0.0
    for tensor in run.layout.tensors {
      var sum = [Float](repeating: 0, count: tensor.range.count)
      for result in results {
        for (index, value) in result.gradients[tensor.range].enumerated() { sum[index] += value }
      }
      let error = GradientTests.relativeError(sum, try recorded.floats(tensor.name).map(Double.init))
      worst = max(worst, error)
      #expect(error <= GradientTests.recordedTolerance, "\(tensor.name): \(error)")
    }
    print("decoder-tokens: largest relative error \(worst) over \(run.layout.tensors.count) tensors")
  }

  /// The loss over the packed output head, its parts in Double.
  private struct Twin {
    let head: [Double]
    let width: Int
    let vocabulary: Int

    func loss(_ hidden: [Double], _ places: [TokenLoss.Place]) -> Double {
      places.reduce(0) { sum, place in
        let scores = (0..<vocabulary).map { (token) -> Double in
          var score = 0.0
          for column in 0..<width {
            score += head[token * width + column] * hidden[place.row * width + column]
          }
          return score
        }
        let top = scores.max() ?? 0
        let powers = scores.reduce(0) { $0 + exp($1 - top) }
        return sum + Double(place.weight) * (log(powers) + top - scores[Int(place.token)])
      }
    }
  }

  @Test func gradientsEqualCentralDifferences() throws {
    var shape = MadeDecoder.Shape()
    shape.layers = 1
    let made = try MadeDecoder(shape)
    let decoder = try Decoder(Checkpoint(directory: made.directory))
    let twin = Twin(
      head: stream("model.embed_tokens.weight", shape.vocabulary * shape.width).map { Double(0.2 * $0) },
      width: shape.width, vocabulary: shape.vocabulary)
    let values = stream("hidden", 5 * shape.width)
    let places: [TokenLoss.Place] = [
      .init(row: 0, token: 7, weight: 1), .init(row: 2, token: 119, weight: 2.5),
      .init(row: 4, token: 0, weight: 0.5),
    ]
    let arena = Arena()
    let hidden = arena.matrix(copying: Matrix(rows: 5, columns: shape.width, values: values))
    let gradient = arena.matrix(5, shape.width)
    let loss = TokenLoss.run(
      decoder, hidden: hidden, places, scale: 0.5, dHidden: gradient, arena: arena)
    let doubles = values.map(Double.init)
    #expect(abs(loss / twin.loss(doubles, places) - 1) < Self.tolerance)
    let step = 1e-5
    let expected = doubles.indices.map { index in
      var moved = doubles
      moved[index] += step
      let above = twin.loss(moved, places)
      moved[index] -= 2 * step
      return 0.5 * (above - twin.loss(moved, places)) / (2 * step)
    }
    let error = GradientTests.relativeError(Matrix(gradient).values, expected)
    #expect(error < Self.tolerance, "\(error)")
    for row in [1, 3] {
      #expect(Matrix(gradient.rows(row..<row + 1)).values.allSatisfy { $0 == 0 }, "nothing is written there")
    }
  }

  /// More rows than are multiplied at once.
  @Test func aRowsBitsDependOnNeitherCutNorNeighbours() throws {
    let shape = MadeDecoder.Shape()
    let made = try MadeDecoder(shape)
    let decoder = try Decoder(Checkpoint(directory: made.directory))
    let count = 2 * TokenLoss.chunk(vocabulary: shape.vocabulary) + 5
    #expect(TokenLoss.chunk(vocabulary: 1 << 40) == 1)
    let arena = Arena()
    let hidden = arena.matrix(
      copying: Matrix(rows: count, columns: shape.width, values: stream("hidden", count * shape.width)))
    let places = (0..<count).map { TokenLoss.Place(row: $0, token: Int32($0 % 120), weight: 1) }
    let together = arena.matrix(count, shape.width)
    let loss = TokenLoss.run(
      decoder, hidden: hidden, places, scale: 0.25, dHidden: together, arena: arena)
    let alone = arena.matrix(count, shape.width)
    var sum = 0.0
    for place in places {
      sum += TokenLoss.run(decoder, hidden: hidden, [place], scale: 0.25, dHidden: alone, arena: arena)
      let row = place.row..<place.row + 1
      #expect(Matrix(alone.rows(row)) == Matrix(together.rows(row)), "row \(place.row)")
    }
    #expect(sum == loss)
    #expect(
      TokenLoss.run(decoder, hidden: hidden, places, scale: 1, dHidden: nil, arena: arena) == loss)
  }
}
