import Foundation
import Models
import Tensors
import Testing

@testable import Adapters

/// The subspace that a daemon makes at its first start, from trained weights.
struct MiniLMSubspaceTests {
  /// all-MiniLM-L6-v2: CORAD_TEST_MODEL, else models/all-MiniLM-L6-v2 at the package's root.
  private static var folder: String {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
      ?? root.appending(path: "models/all-MiniLM-L6-v2").path()
  }

  @Test func weightsOfOneCheckpoint() throws {
    BLAS.useOneThread()
    let checkpoint = try Checkpoint(directory: Self.folder)
    let start = ContinuousClock.now
    let subspace = try SubspaceExtraction.weights([checkpoint], base: checkpoint)
    print("extraction \(ContinuousClock.now - start)")
    #expect(subspace.sites.count == checkpoint.sites.count)
    for site in checkpoint.sites {
      let found = try #require(subspace.sites[site.name])
      #expect(found.basis.rows == site.outputs && found.basis.columns == 64)
      #expect(found.basis.isOrthonormal)
      #expect(found.energyKept > 0 && found.energyKept < 1)
    }
    #expect(subspace.base == checkpoint.digest)
    #expect(throws: SubspaceError.empty(site: checkpoint.sites[0].name)) {
      try SubspaceExtraction.deltas([checkpoint], base: checkpoint)
    }
  }
}
