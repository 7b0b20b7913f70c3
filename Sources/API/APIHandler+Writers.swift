internal import HTTPWire
internal import Serving

extension APIHandler {
  /// `POST /adapters/{task}/infer` of a task that writes.
  func writeAdapter(_ call: Call) async throws(Problem) -> HTTPResponse {
    let timeout = try call.timeoutMilliseconds()
    let body = try await call.json(limitBytes: configuration.inferenceBodyBytes) { value throws(Problem) in
      try WritingBody(value)
    }
    let type = body.isStream ? MediaTypes.events : MediaTypes.json
    guard MediaTypes.best(of: [type], for: call.head) != nil else { throw Self.notAcceptable([type]) }
    let writings = try await begin(body.requests(call.parameters[0]), timeout, call.principal)
    guard let first = writings.first else { throw Problem(.internal, cause: "no prompt was taken") }
    if body.isStream { return stream(first, call.requestID) }
    return .json(WriterAnswers.json(first, try await whole(writings)))
  }

  private func stream(_ writing: Writing, _ requestID: String) -> HTTPResponse {
    let fields = [
      ("Content-Type", MediaTypes.events), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"),
    ]
    return .stream(fields) { writer in
      defer { writing.pieces.cancel() }
      func send(_ event: String, _ json: [UInt8]) async throws(WireError) {
        try await writer.write(ServerSentEvent(event: event, data: json).encoded())
      }
      // Proxies pass the head on with the first bytes.
      try await writer.write(ServerSentEvent.comment("tokens"))
      var index = 0
      while true {
        switch await next(writing) {
        case .failure(let problem):
          report(problem, requestID)
          return try await send("error", problem.json(requestID: requestID))
        case .success(.nothing): try await writer.write(ServerSentEvent.comment("wait"))
        case .success(.text(let text, _)):
          try await send("token", WriterAnswers.token(text, index))
          index += 1
        case .success(.end(let reason, let usage)):
          return try await send("done", WriterAnswers.done(reason, usage))
        }
      }
    }
  }
}

/// Written texts in the forms of the native route.
enum WriterAnswers {
  static func json(_ writing: Writing, _ choices: [WritingAnswer.Choice]) -> [UInt8] {
    JSONWriter.object { writer in
      writer.member("task", writing.task)
      writer.member("version", writing.version)
      writer.member("subspace", writing.subspace)
      writer.name("outputs")
      writer.array(choices) { writer, choice in
        writer.object {
          $0.member("text", choice.text)
          $0.member("finish_reason", choice.finishReason.rawValue)
        }
      }
      writer.name("usage")
      usage(choices.map(\.usage), to: &writer)
    }
  }

  /// - Parameter index: of the event, from 0.
  static func token(_ text: String, _ index: Int) -> [UInt8] {
    JSONWriter.object {
      $0.member("text", text)
      $0.member("index", index)
    }
  }

  static func done(_ reason: FinishReason, _ usage: WritingUsage) -> [UInt8] {
    JSONWriter.object { writer in
      writer.member("finish_reason", reason.rawValue)
      writer.name("usage")
      self.usage([usage], to: &writer)
    }
  }

  private static func usage(_ usages: [WritingUsage], to writer: inout JSONWriter) {
    writer.object {
      $0.member("inputs", usages.count)
      $0.member("prompt_tokens", usages.reduce(0) { $0 + $1.promptTokens })
      $0.member("cached_tokens", usages.reduce(0) { $0 + $1.cachedTokens })
      $0.member("completion_tokens", usages.reduce(0) { $0 + $1.writtenTokens })
    }
  }
}
