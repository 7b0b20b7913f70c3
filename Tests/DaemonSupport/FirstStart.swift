internal import Foundation

/// A store with the default subspace and nothing else, made once by a real first start.
public actor FirstStart {
  public static let shared = FirstStart()
  private var folder: TemporaryFolder?

  /// Copies it to `store`.
  public func copy(to store: String) async throws {
    if folder == nil {
      let made = try TemporaryFolder()
      let daemon = try await LiveDaemon.start(store: made.path + "/first.sqlite", folder: made.path)
      let ending = await daemon.terminate()
      guard ending == .exit(0) else { throw LiveDaemon.Failure(description: "\(ending): \(daemon.log)") }
      folder = made
    }
    guard let folder else { return }
    try FileManager.default.copyItem(atPath: folder.path + "/first.sqlite", toPath: store)
  }
}
