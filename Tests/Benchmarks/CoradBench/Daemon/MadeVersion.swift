import Adapters
import Digests
import Serving
import Tensors

/// Versions made without training, for what only their shape matters to: A at query and value of every layer, on the
/// default subspace, and a classification head.
struct MadeVersion {
  private let base: Digest
  private let subspace: Digest
  private let width: Int
  private let sites: [(name: String, inputs: Int)]

  init(_ node: Node) async throws {
    guard let base = Digest(node.base.digest),
      let subspace = Digest(try await node.subspace("default").digest)
    else { throw BenchError("the node's digests do not read back") }
    (self.base, self.subspace) = (base, subspace)
    width = node.base.width
    sites = node.base.sites.filter { $0.name.hasSuffix("query") || $0.name.hasSuffix("value") }
      .map { ($0.name, $0.inputs) }
  }

  /// - Parameters:
  ///   - winner: the label that every text gets; nil: the weights decide.
  ///   - siteCount: the first so many sites; all by default.
  func version(
    seed: UInt64, rank: Int, labels: [String], winner: Int? = nil, siteCount: Int = .max
  ) -> AdapterVersion {
    var random = RandomSource(seed: seed)
    func matrix(_ rows: Int, _ columns: Int, _ scale: Float) -> Matrix {
      Matrix(rows: rows, columns: columns, values: (0..<rows * columns).map { _ in scale * random.normal() })
    }
    var updates: [String: SiteUpdate] = [:]
    for site in sites.prefix(siteCount) {
      updates[site.name] = SiteUpdate(coefficients: matrix(rank, site.inputs, 0.02))
    }
    // The logits stay within a few units, so a bias of 1,000 decides.
    var bias = [Float](repeating: 0, count: labels.count)
    if let winner { bias[winner] = 1_000 }
    return AdapterVersion(
      kind: .classification, method: "cora", rank: rank, alpha: Float(2 * rank), base: base,
      subspace: subspace,
      updates: updates,
      head: Head(
        pooling: .mean, linear: DenseLayer(weight: matrix(labels.count, width, 0.1), bias: bias),
        labels: labels))
  }
}
