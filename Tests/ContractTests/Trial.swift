import DaemonSupport
import Foundation
import HTTPClient
import HTTPWire
import Testing

@testable import API

/// Requests to a daemon whose every answer is held to the contract, and the operations and codes met so far.
final class Trial {
  let contract: Contract
  /// Operations that gave what they are for.
  private(set) var operations: Set<String> = []
  private(set) var codes: Set<String> = []
  private(set) var openAICodes: Set<String> = []
  private var url = ""
  private var client: HTTPClient?
  private var fields: [(String, String)] = []

  init(_ contract: Contract) { self.contract = contract }

  func turn(to daemon: LiveDaemon, key: String? = nil) throws {
    url = daemon.url
    fields = key.map { [("Authorization", "Bearer \($0)")] } ?? []
    client = try HTTPClient(url: url, timeout: .seconds(120))
  }

  /// A request whose answer must be the one that it is made for.
  @discardableResult
  func call(
    _ id: String, _ path: String, _ body: String? = nil, _ fields: [(String, String)] = [],
    type: String = "application/json", status: Int = 200, _ place: SourceLocation = #_sourceLocation
  ) throws -> JSONValue {
    let answer = try send(id, path, body, fields, type)
    #expect(answer.status == status, "\(id): \(answer.text)", sourceLocation: place)
    hold(answer, id, place)
    if answer.status == status { operations.insert(id) }
    return (try? JSONReader.read(answer.body)) ?? .null
  }

  /// A request that must be refused with a code.
  @discardableResult
  func refused(
    _ code: ProblemCode, _ id: String, _ path: String, _ body: String? = nil,
    _ fields: [(String, String)] = [],
    type: String = "application/json", _ place: SourceLocation = #_sourceLocation
  ) throws -> JSONValue {
    hold(try send(id, path, body, fields, type), id, code, place)
  }

  /// Bytes that must be refused with a code, on a connection of their own.
  func refused(
    _ code: ProblemCode, raw text: String, as id: String = "infer",
    _ place: SourceLocation = #_sourceLocation
  ) throws {
    let connection = try RawConnection(url)
    try connection.send(text)
    hold(try connection.answer(), id, code, place)
  }

  /// An answer to the operation, which is to be a problem of the code.
  @discardableResult
  func hold(
    _ answer: ClientResponse, _ id: String, _ code: ProblemCode, _ place: SourceLocation = #_sourceLocation
  ) -> JSONValue {
    let isOpenAI = contract.operations[id]?.isOpenAI == true
    let body = (try? JSONReader.read(answer.body)) ?? .null
    let problem = isOpenAI ? body["error"] ?? .null : body
    let entry = code.entry
    #expect(problem["code"]?.string == code.rawValue, "\(id): \(answer.text)", sourceLocation: place)
    #expect(answer.status == entry.status, sourceLocation: place)
    if isOpenAI {
      #expect(answer.fields.single("content-type") == "application/json", sourceLocation: place)
      #expect(problem["message"]?.string?.isEmpty == false, sourceLocation: place)
    } else {
      #expect(answer.fields.single("content-type") == "application/problem+json", sourceLocation: place)
      #expect(problem["type"]?.string == "urn:corad:errors#\(code.rawValue)", sourceLocation: place)
      #expect(problem["title"]?.string == entry.title, sourceLocation: place)
      #expect(problem["request_id"]?.string == answer.fields.single("x-request-id"), sourceLocation: place)
    }
    // A head is too large in bytes or in fields: one of the two limits is given.
    let members = entry.members.filter { problem[$0] != nil }
    #expect(
      code == .fieldsTooLarge ? members.count == 1 : members == entry.members, "\(answer.text)",
      sourceLocation: place)
    switch code {
    case .unauthorized: #expect(answer.fields.contains("www-authenticate"), sourceLocation: place)
    case .methodNotAllowed:
      let allowed = problem["allowed"]?.array?.compactMap(\.string).joined(separator: ", ")
      #expect(answer.fields.single("allow") == allowed, sourceLocation: place)
    case .overloaded:
      let seconds = answer.fields.single("retry-after").flatMap(Int.init)
      #expect(seconds ?? 0 >= 1, sourceLocation: place)
    case .internal, .storeUnavailable, .insufficientStorage:
      #expect(problem["detail"] == nil, "a cause of ours: \(answer.text)", sourceLocation: place)
      if isOpenAI { #expect(problem["message"]?.string == entry.title, sourceLocation: place) }
    default: break
    }
    if code == .notFound || code == .methodNotAllowed {
      // No operation's answers.
      #expect(
        contract.faults(body, schema: isOpenAI ? "OpenAIError" : "Problem") == [], sourceLocation: place)
    } else {
      hold(answer, id, place)
    }
    if problem["code"]?.string == code.rawValue {
      if isOpenAI { openAICodes.insert(code.rawValue) } else { codes.insert(code.rawValue) }
    }
    return problem
  }

  private func hold(_ answer: ClientResponse, _ id: String, _ place: SourceLocation) {
    #expect(answer.fields.contains("x-request-id"), sourceLocation: place)
    guard let operation = contract.operations[id] else {
      Issue.record("no operation \(id)", sourceLocation: place)
      return
    }
    let faults = contract.faults(
      operation, status: answer.status, contentType: answer.fields.single("content-type"), body: answer.body)
    #expect(faults == [], "\(id)", sourceLocation: place)
  }

  func send(
    _ id: String, _ path: String, _ body: String?, _ fields: [(String, String)], _ type: String
  ) throws -> ClientResponse {
    let method = contract.operations[id]?.method ?? "GET"
    let typed = body == nil ? fields : [("Content-Type", type)] + fields
    guard let client else { throw LiveDaemon.Failure(description: "no daemon") }
    return try client.send(
      HTTPMethod(method), path, fields: self.fields + typed, body: body.map { Array($0.utf8) })
  }

  /// A job at its end, or wherever `until` holds.
  func job(_ id: String, until: (JSONValue) -> Bool = { Trial.hasEnded($0) }) throws -> JSONValue {
    while true {
      let job = try call("getJob", "/jobs/\(id)")
      if until(job) { return job }
      if Self.hasEnded(job) { throw LiveDaemon.Failure(description: "the job ended: \(job)") }
      usleep(5_000)
    }
  }

  static func hasEnded(_ job: JSONValue) -> Bool {
    ["succeeded", "failed", "cancelled"].contains(job["state"]?.string)
  }

  /// The events of a job to the end of the stream, each held to the schema.
  func events(of job: String, _ place: SourceLocation = #_sourceLocation) throws -> [ServerSentEvent] {
    let client = try HTTPClient(url: url, timeout: .seconds(120), fields: fields)
    var events: [ServerSentEvent] = []
    try client.events("/jobs/\(job)/events") { event in
      events.append(event)
      return true
    }
    for event in events {
      let value = JSONValue.object(
        [("id", event.id), ("event", event.event), ("data", String(decoding: event.data, as: UTF8.self))]
          .compactMap { name, text in text.map { JSONMember(name, .string($0)) } })
      #expect(contract.faults(value, schema: "JobEvent") == [], sourceLocation: place)
      #expect((try? JSONReader.read(event.data))?.members.isEmpty == false, sourceLocation: place)
    }
    operations.insert("getJobEvents")
    return events
  }
}
