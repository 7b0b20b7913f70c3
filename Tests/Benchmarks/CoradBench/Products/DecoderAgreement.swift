import Foundation
import Models
import Tensors

/// What a kind of weights changes in a decoder's next tokens.
struct DecoderAgreement: Codable {
  let weights: String
  let residentBytes: Int
  let tokens: Int
  /// Share of tokens whose best continuation is bfloat16's.
  let agreement: Double
  /// Mean cross-entropy of the text's own next token, nats.
  let loss: Double
  /// Mean divergence from the float32 distribution, nats.
  let divergence: Double

  var text: String {
    "\(weights): \(residentBytes) bytes, \((agreement * 100).text(2)) % of \(tokens) tokens chosen as with bfloat16, "
      + "loss \(loss.text(4)), divergence \(divergence.text(5))"
  }

  /// Tokens of a sequence, each scored.
  private static let window = 256

  /// - Parameters:
  ///   - decoder: a checkpoint's folder.
  ///   - tokens: a file of ids; a last, part window is left out.
  static func measure(decoder directory: String, tokens file: String) throws -> [DecoderAgreement] {
    let checkpoint = try Checkpoint(directory: directory)
    let ids = try String(contentsOfFile: file, encoding: .utf8).split(whereSeparator: \.isWhitespace)
      .compactMap { Int32($0) }
    let windows = ids.count / window
    guard windows > 0 else { throw BenchError("\(file) has fewer than \(window) token ids") }
    let decoders = try PackedElement.allCases.map { try Decoder(checkpoint, as: $0) }
    var same = [Int](repeating: 0, count: decoders.count)
    var loss = [Double](repeating: 0, count: decoders.count)
    var divergence = loss
    let arena = Arena()
    for index in 0..<windows {
      let batch = PackedBatch(sequences: [Array(ids[index * window..<(index + 1) * window])])
      arena.scope {
        let scores = decoders.map { $0.logits($0.forward(batch, patch: nil, arena: arena), arena: arena) }
        for row in 0..<window {
          let logs = scores.map { logProbabilities($0, row) }
          let best = logs.map { row in row.indices.max { row[$0] < row[$1] } ?? 0 }
          for kind in decoders.indices {
            same[kind] += best[kind] == best[PackedElement.allCases.firstIndex(of: .bfloat16) ?? 0] ? 1 : 0
            divergence[kind] += zip(logs[0], logs[kind]).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
            if row + 1 < window { loss[kind] -= logs[kind][Int(batch.ids[row + 1])] }
          }
        }
      }
    }
    let count = windows * window
    return decoders.indices.map { kind in
      DecoderAgreement(
        weights: decoders[kind].element.rawValue, residentBytes: decoders[kind].residentBytes, tokens: count,
        agreement: Double(same[kind]) / Double(count), loss: loss[kind] / Double(count - windows),
        divergence: divergence[kind] / Double(count))
    }
  }

  private static func logProbabilities(_ scores: MatrixView, _ row: Int) -> [Double] {
    let values = (0..<scores.columns).map { Double(scores[row, $0]) }
    let most = values.max() ?? 0
    let sum = log(values.reduce(0) { $0 + exp($1 - most) })
    return values.map { $0 - most - sum }
  }
}
