internal import HTTPWire
internal import Serving

/// `/v1/completions` and `/v1/chat/completions`.
extension APIHandler {
  func createCompletion(_ call: Call) async throws(Problem) -> HTTPResponse {
    let timeout = try writingTimeout(call)
    let body = try await call.json(limitBytes: configuration.inferenceBodyBytes) { value throws(Problem) in
      try CompletionBody(value)
    }
    return try await answer(
      call, .completion, body.model, body.prompts, body.options, pointer: body.pointer, timeout,
      stream: (body.isStream, body.includesUsage))
  }

  func createChatCompletion(_ call: Call) async throws(Problem) -> HTTPResponse {
    let timeout = try writingTimeout(call)
    let body = try await call.json(limitBytes: configuration.inferenceBodyBytes) { value throws(Problem) in
      try ChatBody(value)
    }
    return try await answer(
      call, .chat, body.model, [.conversation(body.conversation)], body.options,
      pointer: { _ in "/messages" },
      timeout, stream: (body.isStream, body.includesUsage))
  }

  private func writingTimeout(_ call: Call) throws(Problem) -> Int? {
    try call.noQuery()
    return try call.timeoutMilliseconds()
  }

  private func answer(
    _ call: Call, _ form: WritingAnswer.Form, _ model: String, _ prompts: [WritingPrompt],
    _ options: WritingOptions, pointer: (Int) -> String, _ timeout: Int?,
    stream: (isStream: Bool, includesUsage: Bool)
  ) async throws(Problem) -> HTTPResponse {
    let name = try ModelName(model)
    var options = options
    options.version = name.version
    let writings = try await begin(
      prompts.enumerated().map { index, prompt in
        WritingRequest(
          task: name.task, prompt: prompt, options: options, pointer: pointer(index), taskPointer: "/model",
          optionsPointer: "")
      }, timeout, call.principal)
    guard let first = writings.first else { throw Problem(.internal, cause: "no prompt was taken") }
    let answer = WritingAnswer(
      form, first, requestID: call.requestID, fingerprint: node.base.digest)
    let withTokens = options.logProbabilities != nil
    if stream.isStream {
      return self.stream(
        writings, answer, withTokens: withTokens, includesUsage: stream.includesUsage, call.requestID)
    }
    return .json(answer.whole(try await whole(writings), withLogProbabilities: withTokens))
  }

  /// Starts them all; none is written where one is refused.
  func begin(
    _ requests: [WritingRequest], _ timeout: Int?, _ principal: Principal
  ) async throws(Problem) -> [Writing] {
    var writings: [Writing] = []
    for request in requests {
      do throws(ServingError) {
        writings.append(try await node.write(request, timeoutMilliseconds: timeout, principal: principal))
      } catch {
        writings.cancel()
        throw Problem(error)
      }
    }
    return writings
  }

  func whole(_ writings: [Writing]) async throws(Problem) -> [WritingAnswer.Choice] {
    defer { writings.cancel() }
    var choices: [WritingAnswer.Choice] = []
    for writing in writings {
      var choice = WritingAnswer.Choice()
      loop: while true {
        let piece = try await serving { () throws(ServingError) in
          try await writing.pieces.next(waitMilliseconds: configuration.eventWaitMilliseconds)
        }
        switch piece {
        case .nothing: continue
        case .text(let text, let tokens):
          choice.text += text
          choice.tokens += tokens
        case .end(let reason, let usage):
          choice.finishReason = reason
          choice.usage = usage
          break loop
        }
      }
      choices.append(choice)
    }
    return choices
  }

  /// The choices one after the other: all are written meanwhile, whatever is read of them.
  private func stream(
    _ writings: [Writing], _ answer: WritingAnswer, withTokens: Bool, includesUsage: Bool, _ requestID: String
  ) -> HTTPResponse {
    let fields = [
      ("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"),
    ]
    return .stream(fields) { writer in
      defer { writings.cancel() }
      func send(_ json: [UInt8]) async throws(WireError) {
        try await writer.write(ServerSentEvent(data: json).encoded())
      }
      var usages: [WritingUsage] = []
      for (index, writing) in writings.enumerated() {
        if answer.form == .chat {
          try await send(answer.chunk(.role, choice: index, includesUsage: includesUsage))
        }
        var offset = 0
        loop: while true {
          switch await next(writing) {
          case .failure(let problem):
            report(problem, requestID)
            return try await send(problem.openAI())
          // Proxies pass the head on with the first bytes, and keep a stream that says something now and then.
          case .success(.nothing): try await writer.write(ServerSentEvent.comment("wait"))
          case .success(.text(let text, let tokens)):
            let delta = WritingAnswer.Delta.text(text, tokens: withTokens ? tokens : nil, offset: offset)
            try await send(answer.chunk(delta, choice: index, includesUsage: includesUsage))
            // A token's text may wait for what follows it.
            offset += tokens.reduce(0) { $0 + $1.chosen.characters }
          case .success(.end(let reason, let usage)):
            try await send(answer.chunk(.finish(reason), choice: index, includesUsage: includesUsage))
            usages.append(usage)
            break loop
          }
        }
      }
      if includesUsage { try await send(answer.usageChunk(usages)) }
      try await send(Array("[DONE]".utf8))
    }
  }

  func next(_ writing: Writing) async -> Result<WrittenPiece, Problem> {
    do throws(ServingError) {
      return .success(
        try await writing.pieces.next(waitMilliseconds: configuration.eventWaitMilliseconds))
    } catch {
      return .failure(Problem(error))
    }
  }
}

extension [Writing] {
  func cancel() { for writing in self { writing.pieces.cancel() } }
}
