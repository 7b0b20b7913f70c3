import Foundation
import Serving
import Testing

/// One store, two bases.
@Suite(.serialized) struct OtherBaseTests {
  /// The test's base with another weight in its last tensor: another base, as its digest says.
  private func otherBase(in folder: URL) throws -> String {
    let copy = folder.appendingPathComponent("other")
    try FileManager.default.copyItem(
      at: URL(fileURLWithPath: TestModel.directory).resolvingSymlinksInPath(), to: copy)
    let weights = copy.appendingPathComponent("model.safetensors")
    let file = try FileHandle(forUpdating: weights)
    let end = try file.seekToEnd()
    try file.seek(toOffset: end - 4)
    try file.write(contentsOf: withUnsafeBytes(of: Float(0.125).bitPattern.littleEndian) { Data($0) })
    try file.close()
    return copy.path
  }

  @Test func aStoreOpenedWithAnotherBaseServesNoneOfItsTasksAndLearnsItsOwn() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let other = try otherBase(in: folder)
    let store = folder.appendingPathComponent("store.sqlite").path
    let (first, before, waiting) = try await withNode(store: store) { node in
      _ = try await node.learn("topics")
      let before = try await node.label("the door is red", task: "topics").prediction
      // Stopped before it ends.
      return (node.base.digest, before, try await node.start("late", method: "lora", epochs: 60).id)
    }
    try await withNode(store: store, { $0.modelDirectory = other }) { node in
      let own = node.base.digest
      #expect(own != first)
      let found1 = await node.readiness().isReady
      #expect(found1)
      let task = try await node.task("topics")
      #expect(!task.isServed && task.active?.base == first)
      for attempt in [
        { _ = try await node.label("the door is red", task: "topics") },
        { _ = try await node.activate(task: "topics", version: 1, expected: nil, principal: .anonymous) },
      ] as [@Sendable () async throws -> Void] {
        await #expect {
          try await attempt()
        } throws: { error in
          guard case .baseMismatch(expected: own, actual: first) = error as? ServingError else {
            return false
          }
          return true
        }
      }
      let found2 = try await node.subspace("default").base
      #expect(found2 == own)
      let found3 = try await node.learn("own").state
      #expect(found3 == .succeeded)
      let found4 = try await node.label("the door is red", task: "own").label
      #expect(found4 == "colour")
      let kept = try await node.job(waiting).state
      #expect(kept == .queued)
    }
    try await withNode(store: store) { node in
      let late = try await node.finished(waiting)
      #expect(late.state == .succeeded)
      let found5 = try await node.subspace("default").base
      #expect(found5 == first)
      let found6 = try await node.label("the door is red", task: "topics").prediction
      #expect(found6 == before)
      let found7 = try await node.task("own").isServed
      #expect(found7 == false)
    }
  }
}
