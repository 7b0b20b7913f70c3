import Adapters
import Foundation
import Logging
import Serving
import Testing

@Suite struct RetireTests {
  private let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  @Test func retiredNodeAnswersAndTakesNoJobs() async throws {
    try await withNode { node in
      let running = try await node.start("colours", epochs: 400)
      while try await node.job(running.id).state == .queued {
        _ = try await node.events(of: running.id, after: 0, waitMilliseconds: 1_000)
      }
      node.retire()
      let readiness = await node.readiness()
      #expect(!readiness.isReady && readiness.reasons == ["draining"])
      // What is in flight is still answered.
      let result = try await node.infer(
        task: "base", inputs: InferenceInputs(["text"]),
        options: InferenceOptions(),
        timeoutMilliseconds: nil, principal: .anonymous)
      #expect(result.count == 1)
      func isDraining(_ error: any Error) -> Bool {
        if case .draining = error as? ServingError { true } else { false }
      }
      await #expect { _ = try await node.start("late") } throws: { isDraining($0) }
      await #expect {
        _ = try await node.beginDataset(name: "late", kind: .classification, principal: .anonymous)
      } throws: {
        isDraining($0)
      }
      // Who follows the job hears that it waits for the next start, and then why the stream ends.
      var heard: [String] = []
      var last: Int64 = 0
      await #expect {
        while true {
          let events = try await node.events(of: running.id, after: last, waitMilliseconds: 10_000).events
          heard += events.map(\.dataJSON)
          last = events.last?.id ?? last
        }
      } throws: {
        isDraining($0)
      }
      #expect(heard.last?.contains("queued") == true, "\(heard)")
      let left = try await node.job(running.id).state
      #expect(left == .queued)
    }
  }

  @Test func anOpeningThatIsAskedToStopLeavesTheStoreFree() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let configuration = ServingConfiguration(
      modelDirectory: TestModel.directory, storePath: folder.path + "/store.sqlite")
    await #expect {
      _ = try await Node.open(configuration, log: log) { true }
    } throws: { error in
      if case .cancelled = error as? ServingError { true } else { false }
    }
    // Asked only once the store is open: it is closed again.
    let path = configuration.storePath
    await #expect {
      _ = try await Node.open(configuration, log: log) { FileManager.default.fileExists(atPath: path) }
    } throws: { error in
      if case .cancelled = error as? ServingError { true } else { false }
    }
    let check = await Doctor.store(path: path)
    #expect(check.isHealthy, "\(check.detail)")
  }
}
