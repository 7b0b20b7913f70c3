import DaemonSupport
import Foundation
import HTTPWire
import Testing

@Suite(.serialized) struct LifecycleTests {
  @Test func aDaemonStartsAnswersAndEndsWithItsStoreWhole() async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    let daemon = try await LiveDaemon.start(store: store, folder: folder.path)
    let ready = try await daemon.send(.get, "/readyz")
    #expect(ready.status == 200)
    let answer = try await daemon.send(.post, "/adapters/base/infer", body: #"{"inputs":"a text"}"#)
    #expect(answer.status == 200 && answer.json["embeddings"].items.count == 1, "\(answer.text)")
    #expect(await daemon.terminate() == .exit(0))
    // A stopped daemon's store is the one file: what a copy of it alone holds.
    let log = try FileManager.default.attributesOfItem(atPath: store + "-wal")[.size] as? Int
    #expect(log ?? 0 == 0)
  }

  @Test func aSignalRightAfterTheStartIsNotLost() async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    for _ in 0..<5 {
      let daemon = try await LiveDaemon.start(store: store, folder: folder.path)
      #expect(await daemon.terminate(seconds: 20) == .exit(0))
    }
  }
}
