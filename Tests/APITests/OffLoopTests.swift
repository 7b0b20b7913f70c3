import Dispatch
import HTTPWire
import Serving
import Synchronization
import Testing

@testable import API

/// Stands for an event loop: one queue that can be told from every other thread.
final class TestLoop: TaskExecutor {
  private static let key = DispatchSpecificKey<Bool>()
  private let queue = DispatchQueue(label: "loop")

  init() { queue.setSpecific(key: Self.key, value: true) }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }

  static var isHere: Bool { DispatchQueue.getSpecific(key: key) == true }
}

/// Long work leaves the connection's loop, short work stays on it.
@Suite struct OffLoopTests {
  private func isReadOnTheLoop(bytes count: Int) async throws -> Bool {
    let head = try HTTPRequestHead(
      method: .post, target: "/infer",
      fields: HTTPFields([("Content-Type", "application/json"), ("Content-Length", String(count))]))
    let body = [UInt8](repeating: UInt8(ascii: " "), count: count - 2) + Array("{}".utf8)
    let call = Call(
      request: HTTPRequest(head: head, body: HTTPBody(body)), operation: .infer, parameters: [],
      principal: .anonymous, requestID: "r")
    return try await withTaskExecutorPreference(TestLoop()) {
      #expect(TestLoop.isHere)
      let isHere = try await call.json(limitBytes: 1 << 20) { _ throws(Problem) in TestLoop.isHere }
      #expect(TestLoop.isHere)
      return isHere
    }
  }

  @Test func aLargeBodyIsReadOffTheLoop() async throws {
    let small = try await isReadOnTheLoop(bytes: Call.inlineBytes)
    let large = try await isReadOnTheLoop(bytes: Call.inlineBytes + 1)
    #expect(small && !large)
    #expect(Call.inlineBytes <= 64 << 10)
  }

  @Test func trainingIsAcceptedOffTheLoop() async throws {
    let node = StubNode()
    let api = handler(node)
    try await withTaskExecutorPreference(TestLoop()) {
      let answer = try await api.send(.post, "/train", #"{"task":"t","data":{"dataset":"ds_1"}}"#)
      #expect(answer.status == 202)
    }
    #expect(node.seen.withLock { $0.wasOnLoop } == false)
  }

  @Test(arguments: [
    ("POST", "/subspaces", #"{"name":"s","source":"adapters","versions":["a@1"],"rank":4}"#, 202),
    ("GET", "/subspaces/default", nil, 200), ("GET", "/v1/files/ds_1/content", nil, 200),
  ])
  func whatTheNodeDecodesIsReadOffTheLoop(
    method: String, path: String, body: String?, status: Int
  ) async throws {
    let node = StubNode()
    let api = handler(node)
    try await withTaskExecutorPreference(TestLoop()) {
      let answer = try await api.send(HTTPMethod(method), path, body)
      #expect(answer.status == status, "\(answer.text)")
    }
    #expect(node.seen.withLock { $0.wasOnLoop } == false)
  }

  @Test func uploadsAreReadOffTheLoop() async throws {
    let node = StubNode()
    let api = handler(node)
    try await withTaskExecutorPreference(TestLoop()) {
      let answer = try await api.send(
        .post, "/datasets?name=rows&kind=classification", "text,label\na,x\n", type: "text/csv")
      #expect(answer.status == 201)
    }
    #expect(node.seen.withLock { $0.wasOnLoop } == false)
  }
}
