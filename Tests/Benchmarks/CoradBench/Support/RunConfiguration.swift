import Digests
import Foundation

/// Everything that a stored run depends on.
protocol RunConfiguration: Encodable {}

extension RunConfiguration {
  /// The run's name in its folder.
  var digest: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys]
      return Digest.sha256(of: [UInt8](try encoder.encode(self))).hex
    }
  }
}
