import Foundation
import HTTPWire
import Serving
import Testing

@testable import API

@Suite struct ProblemTests {
  /// Every case of the core's errors, with what API.md promises for it.
  static let serving: [(ServingError, Int, String)] = [
    (.notFound(.task, id: "x"), 404, "task-not-found"),
    (.notFound(.version, id: "1"), 404, "version-not-found"),
    (.notFound(.subspace, id: "x"), 404, "subspace-not-found"),
    (.notFound(.job, id: "x"), 404, "job-not-found"),
    (.notFound(.dataset, id: "x"), 404, "dataset-not-found"),
    (.versionConflict(active: 3), 409, "version-conflict"),
    (.subspaceMismatch(expected: "a", actual: "b"), 409, "subspace-mismatch"),
    (.baseMismatch(expected: "a", actual: "b"), 409, "base-mismatch"),
    (.jobState(state: "failed"), 409, "job-state"),
    (.idempotencyConflict, 409, "idempotency-conflict"), (.inUse("x"), 409, "in-use"),
    (.validation([FieldError("/a", "b", allowed: "c")]), 422, "validation-failed"),
    (.invalidRow(line: 3, detail: "x"), 422, "invalid-row"),
    (.textTooLong(pointer: "/inputs/0", tokens: 9, limit: 8), 422, "text-too-long"),
    (.invalidUnicode(pointer: "/a"), 422, "invalid-unicode"),
    (.invalidAdapter(tensor: "t", reason: "r"), 422, "invalid-adapter"),
    (.subspaceNotGrown, 422, "subspace-not-grown"),
    (.templateFailed(reason: "no", line: 2), 422, "template-failed"),
    (.overloaded(depth: 9, limit: 8, retryAfterSeconds: 2), 429, "overloaded"),
    (.notImplemented("x"), 501, "not-implemented"),
    (.deadlineExceeded(milliseconds: 5), 504, "deadline-exceeded"), (.notReady(["x"]), 503, "not-ready"),
    (.draining, 503, "draining"), (.storeUnavailable(cause: "SQL"), 503, "store-unavailable"),
    (.insufficientStorage, 507, "insufficient-storage"), (.cancelled, 503, "draining"),
    (.internal(cause: "SQL"), 500, "internal"),
  ]

  @Test(arguments: serving.indices)
  func errorsOfTheCoreKeepTheirCode(index: Int) async throws {
    let (error, status, code) = Self.serving[index]
    let answer = try await handler(StubNode(failure: error)).send(.get, "/adapters")
    #expect(answer.status == status)
    #expect(answer.code == code)
    #expect(answer.json?["type"]?.string?.hasSuffix("#\(code)") == true)
    #expect(answer["retry-after"] == (code == "overloaded" ? "2" : nil))
    #expect(!answer.text.contains("SQL"), "causes stay in the log")
    try members(answer)
  }

  static let wire: [(WireError, Int, String)] = [
    (.malformed(.host, offset: 4), 400, "malformed-request"), (.headTimeout, 408, "request-timeout"),
    (.bodyTimeout, 408, "request-timeout"), (.bodyTooLarge(limitBytes: 1), 413, "body-too-large"),
    (.targetTooLong(limitBytes: 1), 414, "uri-too-long"), (.expectationFailed, 417, "expectation-failed"),
    (.headTooLarge(limitBytes: 1), 431, "fields-too-large"),
    (.tooManyFields(limit: 1), 431, "fields-too-large"),
    (.notImplemented(.method, offset: 0), 501, "not-implemented"),
    (.tooManyConnections(limit: 1), 503, "not-ready"),
    (.unsupportedVersion(offset: 0), 505, "version-not-supported"), (.peerGone, 400, "malformed-request"),
  ]

  @Test(arguments: wire.indices)
  func errorsOfTheWireKeepTheirStatus(index: Int) throws {
    let (error, status, code) = Self.wire[index]
    let response = handler().response(for: error)
    guard case .bytes(let bytes) = response.body else {
      Issue.record("no body")
      return
    }
    let answer = Answer(status: response.status, fields: response.fields, bytes: bytes)
    #expect(answer.status == status)
    #expect(answer.code == code)
    #expect(answer["x-request-id"] == answer.json?["request_id"]?.string)
    try members(answer)
  }

  /// No member but those of the table.
  private func members(_ answer: Answer) throws {
    let code = try #require(answer.code.flatMap(ProblemCode.init(rawValue:)))
    let common = ["type", "title", "status", "detail", "instance", "code", "request_id"]
    guard case .object(let members)? = answer.json else {
      Issue.record("not an object")
      return
    }
    for member in members where !common.contains(member.name) {
      #expect(code.entry.members.contains(member.name), "\(code.rawValue): \(member.name)")
    }
  }

  @Test func theErrorsDocumentIsTheTable() throws {
    let path = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let file = URL(fileURLWithPath: "/\(path)/docs/errors.md")
    if ProcessInfo.processInfo.environment["RECORD_GOLDENS"] == "1" {
      try Data(ProblemCode.markdown.utf8).write(to: file)
      Issue.record("recorded docs/errors.md")
    }
    #expect(try String(contentsOf: file, encoding: .utf8) == ProblemCode.markdown)
  }
}
