import Digests
import Tensors

@testable import Adapters
@testable import Models

/// Tolerances of these tests, each with its reason.
enum Tolerance {
  /// float32 against Double over sums of at most a few hundred terms near 1.
  static let product: Double = 2e-5
  /// Double vectors rounded to float32, `[dOut, r]`.
  static let orthonormal: Double = 1e-6
}

extension RandomSource {
  mutating func matrix(_ rows: Int, _ columns: Int, scale: Float = 1) -> Matrix {
    Matrix(rows: rows, columns: columns, values: (0..<rows * columns).map { _ in scale * normal() })
  }
}

/// One layer's sites of small, uneven widths.
enum Fixture {
  static let width = 48
  static let wide = 64
  static let base = Digest.sha256(of: Array("base".utf8))

  static let sites: [Site] = (0..<2).flatMap { layer in
    SiteKind.allCases.enumerated().map { index, kind in
      let prefix = "encoder.layer.\(layer)"
      let inputs = kind == .output ? wide : width
      let outputs = kind == .intermediate ? wide : width
      return Site(
        name: "\(prefix).\(kind.rawValue)", index: layer * SiteKind.allCases.count + index, layer: layer,
        kind: kind, inputs: inputs, outputs: outputs)
    }
  }

  static func subspace(seed: UInt64, rank: Int = 40, sites: [Site] = sites) throws -> Subspace {
    try SubspaceExtraction.random(sites: sites, base: base, options: .init(rank: rank, seed: seed))
  }

  /// A version that adapts `kinds`, through `subspace` or through Bs of its own.
  static func version(
    seed: UInt64, rank: Int, kinds: [SiteKind] = [.query, .value], subspace: Subspace?,
    sites: [Site] = sites
  ) -> AdapterVersion {
    var random = RandomSource(seed: seed)
    var updates: [String: SiteUpdate] = [:]
    for site in sites where kinds.contains(site.kind) {
      let columns = subspace?.sites[site.name]?.basis.columns ?? site.outputs
      let r = min(rank, columns)
      updates[site.name] = SiteUpdate(
        coefficients: random.matrix(r, site.inputs, scale: 0.2),
        privateBasis: subspace == nil ? random.matrix(site.outputs, r, scale: 0.2) : nil)
    }
    let linear = DenseLayer(weight: random.matrix(3, width), bias: [0.5, -0.25, 0])
    return AdapterVersion(
      kind: .classification, method: subspace == nil ? "lora" : "cora", rank: rank, alpha: 2 * Float(rank),
      base: base, subspace: subspace?.digest, updates: updates,
      head: Head(pooling: .mean, linear: linear, labels: ["a", "b", "é"]))
  }
}

/// `[rows, columns]` of a slow product `X·Mᵀ` in Double.
func slowNT(_ x: [[Double]], _ m: Matrix, scale: Double = 1, columns: Int? = nil) -> [[Double]] {
  let (rows, width, used) = (m.rows, m.columns, columns ?? m.columns)
  return m.values.withUnsafeBufferPointer { values in
    x.map { row in
      row.withUnsafeBufferPointer { row in
        (0..<rows).map { output in
          var sum = 0.0
          var k = 0
          while k < used {
            sum += row[k] * Double(values[output * width + k])
            k += 1
          }
          return scale * sum
        }
      }
    }
  }
}
