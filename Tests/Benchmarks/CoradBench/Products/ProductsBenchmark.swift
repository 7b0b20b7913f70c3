import ArgumentParser
import COpenBLAS
import Foundation
import Models
import Tensors

/// What a product costs with each kind of packed weights, against OpenBLAS on the same matrix in float32, and what the
/// narrower weights change in a decoder's choices.
struct ProductsBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "products",
    abstract: "Speed of products by kind of weights and rows; a decoder's agreement with bfloat16.")

  static let rowCounts = [1, 4, 16, 64]

  @Option(help: "Outputs of the matrix, which should not fit the caches.") var outputs = 8192
  @Option(help: "Inputs of the matrix.") var inputs = 2048
  @Option(help: "Alternations.") var rounds = 15
  @Option(help: "Folder of a decoder: measures agreement in place of speed.") var decoder: String?
  @Option(help: "File of its token ids, whitespace between them.") var tokens: String?
  @Flag(help: "Write the result into the tree.") var record = false

  func validate() throws {
    guard outputs > 0, inputs > 0, rounds > 0 else { throw ValidationError("sizes and rounds are positive") }
    guard (decoder == nil) == (tokens == nil) else {
      throw ValidationError("--decoder and --tokens go together")
    }
  }

  func run() throws {
    BLAS.useOneThread()
    var result = ProductsResult(outputs: outputs, inputs: inputs)
    if let decoder, let tokens {
      result.agreements = try DecoderAgreement.measure(decoder: decoder, tokens: tokens)
      for line in result.agreements { say(line.text) }
    } else {
      result.speeds = Self.speeds(outputs, inputs, rounds)
      for line in result.speeds { say(line.text) }
    }
    if record { try ResultFile.write(result, decoder == nil ? "products" : "agreement", record: true) }
  }

  /// Each kind in turn, so that the others' bytes have driven its own out of the caches; one thread's processor time.
  private static func speeds(_ outputs: Int, _ inputs: Int, _ rounds: Int) -> [ProductsResult.Speed] {
    var random = RandomSource(seed: 7)
    let matrix = Matrix(
      rows: outputs, columns: inputs, values: (0..<outputs * inputs).map { _ in random.normal() })
    let packed = PackedElement.allCases.map { PackedWeights(matrix, as: $0) }
    let arena = Arena()
    return rowCounts.flatMap { rows in
      arena.scope {
        let (x, y) = (arena.matrix(rows, inputs), arena.matrix(rows, outputs))
        for row in 0..<rows { for k in 0..<inputs { x[row, k] = random.normal() } }
        var seconds = [[Double]](repeating: [], count: packed.count + 1)
        for round in 0...rounds {
          for (index, weights) in packed.enumerated() {
            let time = processorSeconds {
              weights.multiply(x, bias: nil, extra: nil, accumulate: false, into: y)
            }
            if round > 0 { seconds[index].append(time) }
          }
          let time = processorSeconds { library(matrix, x, y) }
          if round > 0 { seconds[packed.count].append(time) }
        }
        let narrow = seconds[PackedElement.allCases.firstIndex(of: .bfloat16) ?? 0]
        let plain = seconds[packed.count]
        return seconds.indices.map { index in
          let own = seconds[index]
          let bytes = index < packed.count ? packed[index].residentBytes : outputs * inputs * 4
          func times(_ other: [Double]) -> Double { Sample(values: zip(other, own).map { $0 / $1 }).median }
          let median = Sample(values: own).median
          return ProductsResult.Speed(
            weights: index < packed.count ? PackedElement.allCases[index].rawValue : "OpenBLAS", rows: rows,
            gigabytes: Double(bytes) / median / 1e9,
            gigaflops: 2 * Double(rows * outputs * inputs) / median / 1e9, timesBfloat16: times(narrow),
            timesOpenBLAS: times(plain))
        }
      }
    }
  }

  /// Y = X·Wᵀ: sgemv for one row, else sgemm.
  private static func library(_ w: Matrix, _ x: MatrixView, _ y: MatrixView) {
    w.withView { w in
      let (rows, outputs, inputs) = (blasint(x.rows), blasint(w.rows), blasint(w.columns))
      if x.rows == 1 {
        cblas_sgemv(
          CblasRowMajor, CblasNoTrans, outputs, inputs, 1, w.base, blasint(w.stride), x.base, 1, 0, y.base, 1)
      } else {
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, CblasTrans, rows, outputs, inputs, 1, x.base, blasint(x.stride),
          w.base,
          blasint(w.stride), 0, y.base, blasint(y.stride))
      }
    }
  }

  private static func processorSeconds(_ body: () -> Void) -> Double {
    func now() -> Double {
      var time = timespec()
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
      return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
    let start = now()
    body()
    return now() - start
  }
}

struct ProductsResult: Codable {
  struct Speed: Codable {
    let weights: String
    let rows: Int
    /// Of weights read.
    let gigabytes: Double
    let gigaflops: Double
    /// Medians over the alternations of the other's time divided by this one's.
    let timesBfloat16: Double
    let timesOpenBLAS: Double

    var text: String {
      let name = weights.padding(toLength: 8, withPad: " ", startingAt: 0)
      return "\(name) \(rows) rows: \(gigabytes.text(1)) GB/s, \(gigaflops.text(1)) GFLOP/s, "
        + "\(timesBfloat16.text(2)) times bfloat16, \(timesOpenBLAS.text(2)) times OpenBLAS"
    }
  }

  var provenance = Provenance()
  let outputs: Int
  let inputs: Int
  var speeds: [Speed] = []
  var agreements: [DecoderAgreement] = []

  init(outputs: Int, inputs: Int) {
    self.outputs = outputs
    self.inputs = inputs
  }
}
