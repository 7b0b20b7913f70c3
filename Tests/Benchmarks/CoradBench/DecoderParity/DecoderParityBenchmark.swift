import ArgumentParser
import Foundation
import Models
import Tensors
import Tokenizers

/// The trained decoder's next tokens against transformers', and those of narrower weights against bfloat16's.
struct DecoderParityBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decoder-parity", abstract: "A trained decoder's next tokens against transformers.")

  /// As long as the texts that the decoder was trained on.
  private static let context = 128

  @Option(help: "Folder of train_decoder.py; trained when absent.") var decoder: String?
  @Option(help: "Threads of the peer.") var threads = 2
  @Option(help: "Positions compared.") var positions = 2_000
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    let result = try measure()
    try ResultFile.write(result, "decoder-parity", record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() throws -> DecoderParityResult {
    let python = try Places.python()
    let trained = try Places.trainedDecoder(decoder, python: python)
    let sequences = try sequences(trained)
    let checkpoint = try Checkpoint(directory: trained.model)
    let peer = try Peer(python: python, script: "decode_peer.py", threads: threads, model: trained.model)
    let bfloat16 = try logits(checkpoint, as: .bfloat16, sequences)
    var result = DecoderParityResult(trained: try trained.manifest())
    result.provenance.peers = peer.versions
    say(
      "held-out perplexity \(result.trained.heldOutPerplexity.text(1)), unigram "
        + "\(result.trained.unigramPerplexity.text(1))")
    let pairs = try logits(checkpoint, as: .bfloat16Pairs, sequences)
    let reference = try peer.logits(sequences, element: "float32")
    result.add("float32 activations", Agreement(of: bfloat16, with: reference))
    result.add("bfloat16 activations", Agreement(of: pairs, with: reference))
    let narrow = try peer.logits(sequences, element: "bfloat16")
    result.add("transformers' own bfloat16 activations", Agreement(of: narrow, with: reference))
    for element in PackedElement.allCases where ![.float32, .bfloat16, .bfloat16Pairs].contains(element) {
      let narrow = try logits(checkpoint, as: element, sequences)
      result.add(element.rawValue, Agreement(of: narrow, with: bfloat16))
    }
    return result
  }

  /// Held-out texts, the last one cut so that the positions are as many as asked for.
  private func sequences(_ trained: TrainedDecoder) throws -> [[Int32]] {
    let tokenizer = try Tokenizer(folder: trained.model)
    var sequences: [[Int32]] = []
    var left = positions
    for text in try trained.heldOut() where left > 0 {
      let ids = [0] + tokenizer.encode(text.prompt + text.completion, limit: nil).ids
      sequences.append(Array(ids.prefix(min(Self.context, left))))
      left -= sequences[sequences.count - 1].count
    }
    guard left == 0 else { throw BenchError("the held-out texts have \(left) positions too few") }
    return sequences
  }

  private func logits(
    _ checkpoint: Checkpoint, as element: PackedElement, _ sequences: [[Int32]]
  ) throws -> Matrix {
    let decoder = try Decoder(checkpoint, as: element)
    let arena = Arena()
    var values: [Float] = []
    for ids in sequences {
      arena.scope {
        let hidden = decoder.forward(PackedBatch(sequences: [ids]), patch: nil, arena: arena)
        values += Matrix(decoder.logits(hidden, arena: arena)).values
      }
    }
    let columns = decoder.configuration.vocabularySize
    return Matrix(rows: values.count / columns, columns: columns, values: values)
  }
}

extension Peer {
  private struct LogitsRequest: Encodable {
    let command = "logits"
    let sequences: [[Int32]]
    let element: String
    let path: String
  }
  private struct LogitsAnswer: Decodable {
    let rows: Int
    let vocabulary: Int
  }

  /// transformers' scores over weights rounded to bfloat16, row after row.
  fileprivate func logits(_ sequences: [[Int32]], element: String) throws -> Matrix {
    let file = FileManager.default.temporaryDirectory
      .appendingPathComponent("corad-logits-\(ProcessInfo.processInfo.processIdentifier)")
    defer { try? FileManager.default.removeItem(at: file) }
    let shape: LogitsAnswer = try call(
      LogitsRequest(sequences: sequences, element: element, path: file.path))
    let bytes = try Data(contentsOf: file)
    guard bytes.count == shape.rows * shape.vocabulary * MemoryLayout<Float>.stride else {
      throw BenchError("the peer wrote \(bytes.count) bytes for \(shape.rows) rows")
    }
    let values = [Float](unsafeUninitializedCapacity: shape.rows * shape.vocabulary) { buffer, count in
      count = bytes.copyBytes(to: buffer) / MemoryLayout<Float>.stride
    }
    return Matrix(rows: shape.rows, columns: shape.vocabulary, values: values)
  }
}

/// How two models' scores for the same positions agree.
struct Agreement: Codable {
  let positions: Int
  /// Share of positions with the same best token.
  let top1: Double
  /// Mean over positions of Σ p·ln(p/q), p the reference's probabilities, in nats.
  let meanDivergence: Double
  let worstDivergence: Double
  let largestDifference: Float

  /// - Precondition: both are `[positions, vocabulary]` of one shape.
  init(of ours: Matrix, with reference: Matrix) {
    precondition(
      ours.rows == reference.rows && ours.columns == reference.columns, "scores of the same positions")
    var (same, sum, worst) = (0, 0.0, 0.0)
    var largest: Float = 0
    for row in 0..<ours.rows {
      let range = row * ours.columns..<(row + 1) * ours.columns
      let (mine, theirs) = (ours.values[range], reference.values[range])
      if Self.best(mine) == Self.best(theirs) { same += 1 }
      let divergence = Self.divergence(theirs, mine)
      sum += divergence
      worst = max(worst, divergence)
      for (a, b) in zip(mine, theirs) { largest = max(largest, abs(a - b)) }
    }
    positions = ours.rows
    top1 = Double(same) / Double(ours.rows)
    meanDivergence = sum / Double(ours.rows)
    worstDivergence = worst
    largestDifference = largest
  }

  private static func best(_ scores: ArraySlice<Float>) -> Int {
    var best = scores.startIndex
    for index in scores.indices where scores[index] > scores[best] { best = index }
    return best - scores.startIndex
  }

  private static func divergence(_ p: ArraySlice<Float>, _ q: ArraySlice<Float>) -> Double {
    func logSum(_ scores: ArraySlice<Float>) -> Double {
      let top = Double(scores.max() ?? 0)
      return top + log(scores.reduce(0) { $0 + exp(Double($1) - top) })
    }
    let (pSum, qSum) = (logSum(p), logSum(q))
    var sum = 0.0
    for (a, b) in zip(p, q) {
      let logP = Double(a) - pSum
      sum += exp(logP) * (logP - (Double(b) - qSum))
    }
    return sum
  }
}

struct DecoderParityResult: Codable {
  /// Least share of equal best tokens, and greatest mean divergence.
  private static let limits: [String: (top1: Double, divergence: Double)] = [
    "float32 activations": (0.995, .infinity), "bfloat16 activations": (0.97, 1e-3),
    "int8": (0.97, .infinity), "int4": (0.92, .infinity),
  ]

  var provenance = Provenance()
  let trained: TrainedDecoder.Manifest
  /// Weights in bfloat16 against transformers in float32 over the same rounded ones; narrower weights against
  /// bfloat16's.
  private(set) var cases: [String: Agreement] = [:]

  init(trained: TrainedDecoder.Manifest) { self.trained = trained }

  mutating func add(_ name: String, _ agreement: Agreement) {
    cases[name] = agreement
    say(
      "\(name): top-1 \((100 * agreement.top1).text(2)) %, mean KL \(agreement.meanDivergence), worst "
        + "\(agreement.worstDivergence.text(4)), largest difference \(agreement.largestDifference) over "
        + "\(agreement.positions) positions")
  }

  var misses: [String] {
    var misses: [String] = []
    if 2 * trained.heldOutPerplexity > trained.unigramPerplexity {
      misses.append("the trained decoder's perplexity is above half the unigram model's")
    }
    for (name, agreement) in cases.sorted(by: { $0.key < $1.key }) {
      guard let limit = Self.limits[name] else { continue }
      if agreement.top1 < limit.top1 {
        misses.append("\(name): top-1 \(agreement.top1), at least \(limit.top1)")
      }
      if agreement.meanDivergence > limit.divergence {
        misses.append("\(name): mean KL \(agreement.meanDivergence), at most \(limit.divergence)")
      }
    }
    return misses
  }
}
