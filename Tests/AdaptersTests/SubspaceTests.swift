import Digests
import Tensors
import Testing

@testable import Adapters
@testable import Models

struct SubspaceTests {
  private static let sites = Fixture.sites

  private static func largestDefect(_ basis: Matrix) -> Double {
    var worst = 0.0
    for i in 0..<basis.columns {
      for j in 0..<basis.columns {
        var sum = 0.0
        for row in 0..<basis.rows { sum += Double(basis[row, i]) * Double(basis[row, j]) }
        worst = max(worst, abs(sum - (i == j ? 1 : 0)))
      }
    }
    return worst
  }

  private static func extract(
    _ matrices: [[Int: Matrix]], sites: [Site] = sites, _ options: SubspaceOptions = .init()
  ) throws(SubspaceError) -> Subspace {
    let sources = matrices.map { bySite in
      Source(rounding: Source.float32Rounding) { (site) throws(SubspaceError) in bySite[site.index] }
    }
    return try SubspaceExtraction.extract(
      sources, sites: sites, base: Fixture.base, source: .weights, normalised: false, options, { _ in true })
  }

  private static func random(_ count: Int, seed: UInt64, rank: Int? = nil) -> [[Int: Matrix]] {
    var random = RandomSource(seed: seed)
    return (0..<count).map { _ in
      var bySite: [Int: Matrix] = [:]
      for site in sites {
        guard let rank else {
          bySite[site.index] = random.matrix(site.outputs, site.inputs)
          continue
        }
        let (b, a) = (random.matrix(site.outputs, rank), random.matrix(rank, site.inputs))
        var product = Matrix(zeros: site.outputs, site.inputs)
        for i in 0..<site.outputs {
          for j in 0..<site.inputs { for k in 0..<rank { product[i, j] += b[i, k] * a[k, j] } }
        }
        bySite[site.index] = product
      }
      return bySite
    }
  }

  /// uₖ is a left singular vector with value σₖ exactly when M·Mᵀ·uₖ = σₖ²·uₖ, whichever side was decomposed.
  @Test(arguments: [1, 3])
  func columnsAreLeftSingularVectors(_ count: Int) throws {
    let matrices = Self.random(count, seed: 11)
    let subspace = try Self.extract(matrices)
    for site in Self.sites {
      let found = try #require(subspace.sites[site.name])
      #expect(Self.largestDefect(found.basis) < Tolerance.orthonormal)
      #expect(found.singularValues == found.singularValues.sorted(by: >))
      let top = found.singularValues[0]
      for k in 0..<found.basis.columns {
        let u = (0..<site.outputs).map { Double(found.basis[$0, k]) }
        var image = [Double](repeating: 0, count: site.outputs)
        for bySite in matrices {
          let m = try #require(bySite[site.index])
          let projected = (0..<site.inputs).map { j in
            (0..<site.outputs).reduce(0.0) { $0 + Double(m[$1, j]) * u[$1] }
          }
          for i in 0..<site.outputs {
            image[i] += (0..<site.inputs).reduce(0.0) { $0 + Double(m[i, $1]) * projected[$1] }
          }
        }
        let square = found.singularValues[k] * found.singularValues[k]
        let worst = (0..<site.outputs).map { abs(image[$0] - square * u[$0]) }.max() ?? 0
        #expect(worst < 1e-6 * top * top, "\(site.name) column \(k)")
      }
      let peak = (0..<site.outputs).map { found.basis[$0, 0] }.max { abs($0) < abs($1) } ?? 0
      #expect(peak > 0, "the largest entry is positive")
    }
  }

  @Test func keepsIndependentColumnsOnly() throws {
    let subspace = try Self.extract(Self.random(2, seed: 12, rank: 3))
    for site in subspace.sites.values {
      #expect(site.basis.columns == 6)
      #expect(site.energyKept > 0.999)
      #expect(site.noiseFloor > 0)
    }
    #expect(subspace.rank == 6)
  }

  @Test func rankBoundsColumns() throws {
    let subspace = try Self.extract(Self.random(1, seed: 13), .init(rank: 5))
    #expect(subspace.sites.values.allSatisfy { $0.basis.columns == 5 && $0.energyKept < 1 })
  }

  @Test func centringRemovesWhatSourcesShare() throws {
    // Two sources M + D and M - D: centred, only D's one direction is left.
    var random = RandomSource(seed: 14)
    var (first, second): ([Int: Matrix], [Int: Matrix]) = ([:], [:])
    for site in Self.sites {
      let mean = random.matrix(site.outputs, site.inputs)
      let (b, a) = (random.matrix(site.outputs, 1), random.matrix(1, site.inputs))
      var (plus, minus) = (mean, mean)
      for i in 0..<site.outputs {
        for j in 0..<site.inputs {
          plus[i, j] += b[i, 0] * a[0, j]
          minus[i, j] -= b[i, 0] * a[0, j]
        }
      }
      (first[site.index], second[site.index]) = (plus, minus)
    }
    let subspace = try Self.extract([first, second], .init(rank: 4, centred: true))
    for site in subspace.sites.values {
      #expect(site.singularValues[0] > 100 * (site.singularValues.dropFirst().first ?? 0))
    }
    #expect(throws: SubspaceError.tooFewSources(needed: 2, given: 1)) {
      try Self.extract([first], .init(centred: true))
    }
  }

  @Test func scopesShareOneBasis() throws {
    let matrices = Self.random(1, seed: 15)
    let layered = try Self.extract(matrices, .init(scope: .layerQKV, rank: 4))
    for layer in 0..<2 {
      let qkv = Self.sites.filter { $0.layer == layer && [.query, .key, .value].contains($0.kind) }
      #expect(Set(qkv.compactMap { layered.sites[$0.name]?.basis.values }).count == 1)
    }
    #expect(layered.sites[Self.sites[0].name] != layered.sites[Self.sites[6].name])
    let global = try Self.extract(matrices, .init(scope: .global, rank: 4))
    #expect(Set(global.sites.values.map(\.basis.values)).count == 2, "one per width")
    let resident = try ResidentSubspace(global, sites: Self.sites)
    #expect(resident.columns[0] === resident.columns[1], "sites of one scope share one packed copy")

    var narrow = Self.sites
    narrow[1] = Site(
      name: narrow[1].name, index: 1, layer: 0, kind: .key, inputs: Fixture.width, outputs: 8)
    #expect(throws: SubspaceError.widthsDiffer(layer: 0)) {
      try SubspaceExtraction.groups(narrow, .layerQKV)
    }
  }

  @Test func adaptersGrowFromPrivateBasesOnly() throws {
    let shared = try Fixture.subspace(seed: 1)
    let frozen = Fixture.version(seed: 1, rank: 4, subspace: shared)
    #expect(throws: SubspaceError.notGrown) {
      try SubspaceExtraction.adapters([frozen], sites: Self.sites, base: Fixture.base)
    }
    let own = (0..<3).map { Fixture.version(seed: UInt64(50 + $0), rank: 4, subspace: nil) }
    let grown = try SubspaceExtraction.adapters(own, sites: Self.sites, base: Fixture.base)
    let names = Set(own[0].updates.keys)
    #expect(Set(grown.sites.keys) == names, "only sites that a version adapts")
    for (name, site) in grown.sites {
      #expect(site.basis.columns == 12)
      // Every contributor's B lies in the span: B - U·Uᵀ·B = 0.
      let b = try #require(own[0].updates[name]?.privateBasis)
      for k in 0..<b.columns {
        let column = (0..<b.rows).map { Double(b[$0, k]) }
        var rest = column
        for u in 0..<site.basis.columns {
          let weight = (0..<b.rows).reduce(0.0) { $0 + Double(site.basis[$1, u]) * column[$1] }
          for row in 0..<b.rows { rest[row] -= weight * Double(site.basis[row, u]) }
        }
        #expect(rest.map(abs).max() ?? 1 < 1e-5)
      }
      // Unit Frobenius norm each: three contributors have energy three.
      let energy = site.singularValues.reduce(0) { $0 + $1 * $1 }
      #expect(abs(energy - 3) < 1e-4)
    }
  }

  @Test func bytesAreReproducible() throws {
    let matrices = Self.random(2, seed: 16)
    let (first, second) = (try Self.extract(matrices), try Self.extract(matrices))
    #expect(first == second)
    #expect(first.encoded() == second.encoded())
    let decoded = try Subspace(encoded: first.encoded())
    #expect(decoded == first)
    #expect(decoded.digest == first.digest)
    #expect(try Fixture.subspace(seed: 1).digest != Fixture.subspace(seed: 2).digest)
  }

  @Test func cancels() throws {
    var calls = 0
    #expect(throws: SubspaceError.cancelled) {
      try SubspaceExtraction.adapters(
        [Fixture.version(seed: 1, rank: 2, subspace: nil)], sites: Self.sites, base: Fixture.base
      ) { _ in
        calls += 1
        return calls < 3
      }
    }
  }

  @Test func randomIsOrthonormal() throws {
    for site in try Fixture.subspace(seed: 9).sites.values {
      #expect(Self.largestDefect(site.basis) < Tolerance.orthonormal)
    }
  }
}
