internal import Foundation
internal import Synchronization

/// A folder that goes with the process: a test may let the value go while a daemon works in it.
public final class TemporaryFolder: Sendable {
  private static let living = Mutex<Set<String>>([])
  private static let atEnd: Void = {
    _ = atexit {
      for path in TemporaryFolder.living.withLock({ $0 }) {
        try? FileManager.default.removeItem(atPath: path)
      }
    }
  }()

  public let path: String

  public init() throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("corad-\(UUID().uuidString)")
      .path
    self.path = path
    Self.atEnd
    Self.living.withLock { _ = $0.insert(path) }
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
}
