import Foundation
import Tensors
import TestSupport
import Testing

@testable import Adapters
@testable import Models

/// Adapters at a decoder's seven sites: grouped keys and values are narrow, gate and up share an input.
struct DecoderSitesTests {
  private struct World {
    let checkpoint: Checkpoint
    let decoder: Decoder
    private let made: MadeDecoder

    init(_ format: WeightFormat = .f32) throws {
      var shape = MadeDecoder.Shape()
      shape.layers = 2
      made = try MadeDecoder(shape)
      checkpoint = try Checkpoint(directory: made.directory)
      decoder = try Decoder(checkpoint, as: format.element)
    }

    func version(_ seed: UInt64, rank: Int, kinds: [SiteKind], _ subspace: Subspace?) -> AdapterVersion {
      let made = Fixture.version(
        seed: seed, rank: rank, kinds: kinds, subspace: subspace, sites: checkpoint.sites)
      return AdapterVersion(
        kind: made.kind, method: made.method, rank: made.rank, alpha: made.alpha, base: checkpoint.digest,
        subspace: made.subspace, updates: made.updates, head: made.head)
    }
  }

  @Test func aSubspaceHasAtMostASitesOwnColumns() throws {
    let world = try World()
    let subspace = try SubspaceExtraction.weights(
      [world.checkpoint], base: world.checkpoint, options: .init(rank: 40))
    #expect(subspace.sites.count == 14)
    for site in world.checkpoint.sites {
      let found = try #require(subspace.sites[site.name])
      #expect(found.basis.rows == site.outputs)
      #expect(found.basis.columns == min(40, site.inputs, site.outputs))
      #expect(found.basis.isOrthonormal)
    }
    let global = try SubspaceExtraction.weights(
      [world.checkpoint], base: world.checkpoint, options: .init(scope: .global, rank: 8))
    let keys = ["k_proj", "v_proj"].map { global.sites["model.layers.1.self_attn.\($0)"]?.basis }
    #expect(keys[0] == keys[1] && keys[0]?.rows == 32)
    #expect(throws: SubspaceError.widthsDiffer(layer: 0)) {
      try SubspaceExtraction.weights(
        [world.checkpoint], base: world.checkpoint, options: .init(scope: .layerQKV, rank: 8))
    }
  }

  /// Whole forward passes: tasks of two subspaces, of ranks above and below a narrow site's width, with a B of their
  /// own, on some sites or all, beside rows of the bare base.
  @Test(arguments: WeightFormat.allCases)
  func aBatchOfTasksHasTheBitsOfEachAlone(_ format: WeightFormat) throws {
    let world = try World(format)
    let sites = world.checkpoint.sites
    let primary = try SubspaceExtraction.weights(
      [world.checkpoint], base: world.checkpoint, options: .init(rank: 40))
    let foreign = try SubspaceExtraction.random(
      sites: sites, base: world.checkpoint.digest, options: .init(rank: 16, seed: 2))
    let resident = try [primary, foreign].map { try ResidentSubspace($0, sites: sites) }
    let kinds: [[SiteKind]] = [
      SiteKind.decoder, [.query, .value], [.gate, .output], [.key, .intermediate],
    ]
    var tasks: [(adapter: ResidentAdapter?, subspace: ResidentSubspace?)] = [(nil, nil)]
    for index in 0..<8 {
      // Of the first subspace come the most, so that the shared product has ranks to cut.
      let place = index % 4 == 3 ? nil : index % 4 == 2 ? 1 : 0
      let rank = place == 1 ? 16 : [4, 40, 8, 3][index / 2]
      let version = world.version(
        UInt64(index + 1), rank: rank, kinds: kinds[index % kinds.count],
        place.map { [primary, foreign][$0] })
      try version.validate(
        sites: sites, base: world.checkpoint.digest, width: world.decoder.configuration.hiddenSize,
        subspace: place.map { [primary, foreign][$0] })
      tasks.append((try ResidentAdapter(version, sites: sites), place.map { resident[$0] }))
    }
    var random = RandomSource(seed: 9)
    let texts = tasks.map { _ in (0..<1 + random.below(12)).map { _ in Int32(random.below(120)) } }
    func hidden(_ chosen: [Int]) -> [Matrix] {
      var starts = [0]
      for index in chosen { starts.append(starts[starts.count - 1] + texts[index].count) }
      let groups = chosen.enumerated().map { place, index in
        RowGroup(
          rows: starts[place]..<starts[place + 1], adapter: tasks[index].adapter,
          subspace: tasks[index].subspace)
      }
      let arena = Arena()
      return arena.scope {
        let x = world.decoder.forward(
          PackedBatch(ids: chosen.flatMap { texts[$0] }, starts: starts),
          patch: BatchPatch(sites: sites, groups: groups, primary: resident[0]), arena: arena)
        return groups.map { Matrix(x.rows($0.rows)) }
      }
    }
    let together = hidden(Array(tasks.indices))
    let bare = Arena()
    for index in tasks.indices {
      #expect(together[index] == hidden([index])[0], "task \(index)")
      let base = bare.scope {
        Matrix(
          world.decoder.forward(
            PackedBatch(ids: texts[index], starts: [0, texts[index].count]), patch: nil, arena: bare))
      }
      #expect((together[index] == base) == (index == 0), "task \(index) changes what it should")
    }
  }

  /// A narrow site keeps fewer rows than the rank.
  @Test func aVersionFileSurvivesWithNarrowSites() throws {
    let world = try World()
    let subspace = try SubspaceExtraction.weights(
      [world.checkpoint], base: world.checkpoint, options: .init(rank: 40))
    let version = world.version(5, rank: 40, kinds: SiteKind.decoder, subspace)
    #expect(version.updates["model.layers.0.self_attn.k_proj"]?.coefficients.rows == 32)
    #expect(version.updates["model.layers.0.mlp.down_proj"]?.coefficients.columns == 80)
    #expect(try AdapterVersion(encoded: version.encoded()) == version)
  }
}
