import Foundation
import GRDB
import Testing

@testable import Serving
@testable import Store

@Suite struct ReadinessTests {
  @Test func aStoreThatTakesNoWritesIsNotReadyUntilItDoes() async throws {
    try await withNode { node in
      func reasons(become expected: [String]) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < end {
          let readiness = await node.readiness()
          if readiness.reasons == expected, readiness.isReady == expected.isEmpty { return true }
          try await Task.sleep(for: .milliseconds(20))
        }
        return false
      }
      func queryOnly(_ value: String) async throws {
        try await node.store.pool.writeWithoutTransaction {
          try $0.execute(sql: "PRAGMA query_only = \(value)")
        }
      }
      #expect(try await reasons(become: []))
      try await queryOnly("ON")
      #expect(try await reasons(become: ["store read-only"]))
      // What needs no write is answered.
      let answer = try await node.infer(
        task: "base", inputs: InferenceInputs(["a text"]), options: InferenceOptions(),
        timeoutMilliseconds: nil, principal: .anonymous)
      #expect(answer.predictions.count == 1)
      try await queryOnly("OFF")
      #expect(try await reasons(become: []))
    }
  }
}
