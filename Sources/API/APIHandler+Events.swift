internal import HTTPWire
internal import Serving

extension APIHandler {
  /// The job's events as they come, from the one after `Last-Event-ID`, until the job has ended.
  func getJobEvents(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let id = call.parameters[0]
    let first = try Self.lastEventID(call.head)
    _ = try await serving { () throws(ServingError) in try await node.job(id) }
    let fields = [
      ("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"),
    ]
    return .stream(fields) { writer in
      // Proxies pass the head on with the first bytes.
      try await writer.write(ServerSentEvent.comment("events"))
      var last = first
      while true {
        switch await next(id, after: last) {
        case .failure(let problem):
          report(problem, call.requestID)
          let event = ServerSentEvent(event: "error", data: problem.json(requestID: call.requestID))
          return try await writer.write(event.encoded())
        case .success(let (events, isFinal)):
          var bytes: [UInt8] = []
          for event in events {
            bytes += ServerSentEvent(
              id: String(event.id), event: event.kind, data: Array(event.dataJSON.utf8)
            ).encoded()
            last = event.id
          }
          if bytes.isEmpty, !isFinal { bytes = ServerSentEvent.comment("wait") }
          if !bytes.isEmpty { try await writer.write(bytes) }
          if isFinal { return }
        }
      }
    }
  }

  private func next(
    _ id: String, after last: Int64
  ) async -> Result<(events: [JobEvent], isFinal: Bool), Problem> {
    do throws(ServingError) {
      return .success(
        try await node.events(
          of: id, after: last, waitMilliseconds: configuration.eventWaitMilliseconds))
    } catch {
      return .failure(Problem(error))
    }
  }

  private static func lastEventID(_ head: HTTPRequestHead) throws(Problem) -> Int64 {
    guard head.fields.contains("last-event-id") else { return 0 }
    let text = head.fields.single("last-event-id") ?? ""
    guard text.utf8.allSatisfy(isDigit), let id = Int64(text) else {
      throw Problem(
        .validation([FieldError("Last-Event-ID", "is not an event's id", allowed: "0 or more")]))
    }
    return id
  }
}
