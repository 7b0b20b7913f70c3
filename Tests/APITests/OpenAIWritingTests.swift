import HTTPWire
import Synchronization
import Testing

@testable import API
@testable import Serving

/// Completions and chats on a scripted writer, whole and streamed.
@Suite struct OpenAIWritingTests {
  private static let usage = WritingUsage(promptTokens: 7, cachedTokens: 4, writtenTokens: 3)

  private static func token(_ text: String, _ logProbability: Float) -> WrittenToken {
    WrittenToken(
      chosen: TokenProbability(id: 1, bytes: Array(text.utf8), logProbability: logProbability),
      best: [TokenProbability(id: 2, bytes: [0xe2, 0x96], logProbability: -2)])
  }

  private static func hello(_ reason: FinishReason = .stop) -> ScriptedWriter {
    ScriptedWriter([
      .text("Hé", tokens: [token("Hé", -0.5)]), .nothing, .text("llo", tokens: [token("llo", -1)]),
      .end(reason, usage),
    ])
  }

  private static func post(_ route: String, _ body: String, _ writers: [ScriptedWriter]) async throws -> (
    Answer, StubNode
  ) {
    let node = StubNode(writers: writers)
    return (try await handler(node).send(.post, "/v1/\(route)", body, [("X-Request-Id", "r1")]), node)
  }

  /// The JSON of each event; comments are passed over.
  private static func events(_ answer: Answer) -> [String] {
    answer.text.split(separator: "\n").filter { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
  }

  @Test func aChatIsAnsweredWhole() async throws {
    let writer = Self.hello()
    let (answer, node) = try await Self.post(
      "chat/completions", #"{"model":"tickets","messages":[{"role":"user","content":"Hi"}]}"#, [writer])
    #expect(
      answer.text == """
        {"id":"chatcmpl-r1","object":"chat.completion","created":1767323045,"model":"tickets@3",\
        "system_fingerprint":"sha256:00","choices":[{"index":0,"message":{"role":"assistant","content":"Héllo",\
        "refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":7,\
        "completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":4}}}
        """)
    let request = try #require(node.seen.withLock { $0.writing.first })
    #expect(
      request.task == "tickets" && request.options == WritingOptions() && request.pointer == "/messages")
    #expect(
      request.prompt
        == .conversation(
          Conversation(messagesJSON: #"[{"role":"user","content":"Hi"}]"#, toolsJSON: nil)))
    #expect(writer.isCancelled)
  }

  @Test func aChatIsStreamed() async throws {
    let (answer, _) = try await Self.post(
      "chat/completions",
      #"{"model":"base","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}"#,
      [Self.hello(.length)])
    #expect(answer["content-type"] == "text/event-stream" && answer["cache-control"] == "no-cache")
    #expect(answer["x-accel-buffering"] == "no" && answer.text.contains(": wait\n\n"))
    let head =
      #"{"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1767323045,"model":"base","system_fingerprint":"sha256:00","choices":["#
    #expect(
      Self.events(answer) == [
        head
          + #"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        head + #"{"index":0,"delta":{"content":"Hé"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        head + #"{"index":0,"delta":{"content":"llo"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        head + #"{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}"#,
        head
          + #"],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        "[DONE]",
      ])
  }

  @Test func promptsAreChoicesInOrder() async throws {
    let body = #"{"model":"base","prompt":["a","b"],"logprobs":1,"max_tokens":5}"#
    let (answer, node) = try await Self.post("completions", body, [Self.hello(), Self.hello(.length)])
    let choices = try #require(answer.json?["choices"]?.array)
    #expect(choices.map { $0["index"]?.number?.integer } == [0, 1])
    #expect(choices.map { $0["finish_reason"]?.string } == ["stop", "length"])
    #expect(answer.json?["usage"]?["prompt_tokens"]?.number?.integer == 14)
    let probabilities = try #require(choices[0]["logprobs"])
    #expect(probabilities["tokens"]?.array?.map(\.string) == ["Hé", "llo"])
    #expect(probabilities["token_logprobs"]?.floats == [-0.5, -1])
    #expect(probabilities["top_logprobs"]?.array?[0]["bytes:\\xe2\\x96"]?.number?.double == -2)
    #expect(probabilities["text_offset"]?.floats == [0, 2])
    #expect(
      node.seen.withLock { $0.writing.map(\.pointer) } == ["/prompt/0", "/prompt/1"])
    #expect(node.seen.withLock { $0.writing.map(\.prompt) } == [.text("a"), .text("b")])
  }

  @Test func aTokenWhoseTextWaitsMovesTheOffset() async throws {
    let writer = ScriptedWriter([
      .text("", tokens: [Self.token("ab", -1)]), .text("abc", tokens: [Self.token("c", -1)]),
      .end(.stop, Self.usage),
    ])
    let body = #"{"model":"base","prompt":"a","logprobs":1,"stream":true}"#
    let (answer, _) = try await Self.post("completions", body, [writer])
    let offsets = try Self.events(answer).dropLast().compactMap {
      try JSONReader.read(Array($0.utf8))["choices"]?.array?.first?["logprobs"]?["text_offset"]?.floats
    }
    #expect(offsets == [[0], [2]])
  }

  @Test func streamedCompletionsKeepTheirOffsets() async throws {
    let body = #"{"model":"base","prompt":[[5,6],[7]],"logprobs":1,"stream":true}"#
    let (answer, node) = try await Self.post("completions", body, [Self.hello(), Self.hello()])
    let events = Self.events(answer)
    #expect(events.count == 7 && events.last == "[DONE]")
    let values = try events.dropLast().map { try JSONReader.read(Array($0.utf8)) }
    let choices = values.compactMap { $0["choices"]?.array?.first }
    #expect(choices.map { $0["index"]?.number?.integer } == [0, 0, 0, 1, 1, 1])
    #expect(choices.map { $0["text"]?.string } == ["Hé", "llo", "", "Hé", "llo", ""])
    #expect(choices[1]["logprobs"]?["text_offset"]?.floats == [2])
    #expect(choices[2]["finish_reason"]?.string == "stop" && choices[2]["logprobs"] == .null)
    #expect(values.allSatisfy { $0["usage"] == nil && $0["object"]?.string == "text_completion" })
    #expect(node.seen.withLock { $0.writing.map(\.prompt) } == [.tokens([5, 6]), .tokens([7])])
    #expect(node.seen.withLock { $0.writing.allSatisfy { $0.options.maxTokens == 16 } })
  }

  @Test func chatLogProbabilitiesHaveBytes() async throws {
    let (answer, node) = try await Self.post(
      "chat/completions",
      #"{"model":"base","messages":[{"role":"user","content":"Hi"}],"logprobs":true,"top_logprobs":1}"#,
      [Self.hello()])
    let tokens = try #require(answer.json?["choices"]?.array?.first?["logprobs"]?["content"]?.array)
    #expect(tokens.map { $0["token"]?.string } == ["Hé", "llo"])
    #expect(tokens[0]["bytes"]?.floats == [0x48, 0xc3, 0xa9])
    #expect(tokens[0]["top_logprobs"]?.array?.first?["token"]?.string == "bytes:\\xe2\\x96")
    #expect(node.seen.withLock { $0.writing.first?.options.logProbabilities } == 1)
  }

  @Test func everySamplingFieldGoesThrough() async throws {
    let body =
      #"{"model":"tickets@2","prompt":"a","max_tokens":9,"temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"repetition_penalty":1.5,"presence_penalty":-1,"frequency_penalty":2,"logit_bias":{"0":-100,"12":0.5},"seed":-1,"stop":["x","y"],"logprobs":0}"#
    let (answer, node) = try await Self.post("completions", body, [Self.hello()])
    #expect(answer.status == 200, "\(answer.text)")
    var options = WritingOptions()
    options.version = 2
    options.maxTokens = 9
    options.temperature = 0.5
    options.topP = 0.25
    options.topK = 7
    options.minP = 0.125
    options.repetitionPenalty = 1.5
    options.presencePenalty = -1
    options.frequencyPenalty = 2
    options.logitBias = [0: -100, 12: 0.5]
    options.seed = .max
    options.stop = ["x", "y"]
    options.logProbabilities = 0
    #expect(node.seen.withLock { $0.writing.first?.options } == options)
  }

  @Test func messagesAndToolsGoToTheTemplateAsTheyAre() async throws {
    let body = #"""
      {"model":"base","max_completion_tokens":4,"messages":[
       {"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
       {"role":"user","name":"eve","content":""},
       {"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c1","type":"function",
         "function":{"name":"f","arguments":"{\"x\": [1.50, \"é\"]}"}}]},
       {"role":"tool","tool_call_id":"c1","content":"ok"}],
       "tools":[{"type":"function","function":{"name":"f","parameters":{"b":1,"a":2}}}]}
      """#
    let (answer, node) = try await Self.post("chat/completions", body, [Self.hello()])
    #expect(answer.status == 200, "\(answer.text)")
    guard case .conversation(let conversation)? = node.seen.withLock({ $0.writing.first?.prompt }) else {
      Issue.record("no conversation")
      return
    }
    #expect(
      conversation.messagesJSON == """
        [{"role":"system","content":"ab"},{"role":"user","content":"","name":"eve"},\
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f",\
        "arguments":{"x":[1.50,"é"]}}}]},{"role":"tool","content":"ok","tool_call_id":"c1"}]
        """)
    #expect(
      conversation.toolsJSON
        == #"[{"type":"function","function":{"name":"f","parameters":{"b":1,"a":2}}}]"#)
    #expect(node.seen.withLock { $0.writing.first?.options.maxTokens } == 4)
    let (_, silent) = try await Self.post(
      "chat/completions",
      #"{"model":"base","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}"#,
      [Self.hello()])
    guard case .conversation(let bare)? = silent.seen.withLock({ $0.writing.first?.prompt }) else {
      Issue.record("no conversation")
      return
    }
    #expect(bare.toolsJSON == nil)
  }

  @Test(arguments: [
    (#""n":2"#, "/n"), (#""response_format":{"type":"json_object"}"#, "/response_format"),
    (#""audio":{"voice":"x"}"#, "/audio"), (#""modalities":["text","audio"]"#, "/modalities"),
    (#""reasoning_effort":"low""#, "/reasoning_effort"), (#""functions":[]"#, "/functions"),
    (#""parallel_tool_calls":false"#, "/parallel_tool_calls"), (#""tool_choice":"required""#, "/tool_choice"),
    (#""tool_choice":"auto""#, "/tool_choice"), (#""top_logprobs":1"#, "/top_logprobs"),
    (#""stream_options":{"include_usage":true}"#, "/stream_options"),
    (#""max_tokens":1,"max_completion_tokens":2"#, "/max_tokens"), (#""unheard":1"#, "/unheard"),
    (#""logit_bias":{"01":1}"#, "/logit_bias/01"), (#""logit_bias":{"1":101}"#, "/logit_bias/1"),
    (#""stop":["a",1]"#, "/stop/1"), (#""temperature":2.0000000000000004"#, "/temperature"),
    (#""seed":1.5"#, "/seed"), (#""web_search_options":{}"#, "/web_search_options"),
  ])
  func whatWouldChangeTheAnswerIsRefusedByName(field: String, pointer: String) async throws {
    let body = #"{"model":"base","messages":[{"role":"user","content":"a"}],\#(field)}"#
    let (answer, _) = try await Self.post("chat/completions", body, [Self.hello()])
    #expect(answer.status == 422 && answer.pointers == [pointer], "\(answer.text)")
    #expect(answer.json?["error"]?["param"]?.string == pointer)
  }

  @Test(arguments: [
    (#"{"role":"function","content":"a"}"#, "/messages/0/role"),
    (#"{"role":"user"}"#, "/messages/0/content"),
    (#"{"role":"assistant","content":null}"#, "/messages/0/content"),
    (
      #"{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}"#,
      "/messages/0/content/0/type"
    ),
    (#"{"role":"user","content":[]}"#, "/messages/0/content"),
    (#"{"role":"user","content":"a","tool_calls":[]}"#, "/messages/0/tool_calls"),
    (#"{"role":"user","content":"a","tool_call_id":"c"}"#, "/messages/0/tool_call_id"),
    (#"{"role":"tool","content":"a"}"#, "/messages/0/tool_call_id"),
    (
      #"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"[]"}}]}"#,
      "/messages/0/tool_calls/0/function/arguments"
    ),
    (
      #"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f g","arguments":"{}"}}]}"#,
      "/messages/0/tool_calls/0/function/name"
    ),
    (#"{"role":"user","content":"a","refusal":"no"}"#, "/messages/0/refusal"),
  ])
  func badMessagesAreNamed(message: String, pointer: String) async throws {
    let (answer, _) = try await Self.post(
      "chat/completions", #"{"model":"base","messages":[\#(message)]}"#, [Self.hello()])
    #expect(answer.status == 422 && answer.pointers.contains(pointer), "\(answer.text)")
  }

  @Test(arguments: [
    (#""prompt":"a","best_of":2"#, "/best_of"), (#""prompt":"a","echo":true"#, "/echo"),
    (#""prompt":"a","suffix":"b""#, "/suffix"), (#""prompt":"a","n":3"#, "/n"), (#""prompt":"""#, "/prompt"),
    (#""prompt":["a",[1]]"#, "/prompt"), (#""prompt":[1,-1]"#, "/prompt/1"),
    (#""prompt":[[1],[]]"#, "/prompt/1"),
    (#""prompt":null"#, "/prompt"), (#""prompt":"a","logprobs":6"#, "/logprobs"),
    (#""prompt":"a","logprobs":true"#, "/logprobs"), (#""prompt":"a","messages":[]"#, "/messages"),
  ])
  func badCompletionsAreNamed(fields: String, pointer: String) async throws {
    let (answer, _) = try await Self.post("completions", #"{"model":"base",\#(fields)}"#, [Self.hello()])
    #expect(answer.status == 422 && answer.pointers == [pointer], "\(answer.text)")
  }

  @Test func neutralFieldsAndNullsChangeNothing() async throws {
    let body =
      #"{"model":"base","prompt":"a","max_tokens":16,"n":1,"best_of":1,"echo":false,"suffix":null,"user":"u","metadata":{"a":"b"},"store":true,"service_tier":"auto","stop":null,"seed":null,"stream":null,"logit_bias":null}"#
    let (answer, node) = try await Self.post("completions", body, [Self.hello()])
    #expect(answer.status == 200, "\(answer.text)")
    var options = WritingOptions()
    options.maxTokens = 16
    #expect(node.seen.withLock { $0.writing.first?.options } == options)
  }

  @Test func aBaseThatDoesNotWriteSaysSo() async throws {
    for (route, body) in [
      ("completions", #"{"model":"base","prompt":"a","stream":true}"#),
      ("chat/completions", #"{"model":"base","messages":[{"role":"user","content":"a"}]}"#),
    ] {
      let (answer, _) = try await Self.post(route, body, [])
      #expect(answer.status == 501)
      #expect(
        answer.text
          == #"{"error":{"message":"The base does not write.","type":"server_error","param":null,"code":"not-implemented"}}"#
      )
    }
  }

  /// The prompts before the one that fails are given up.
  @Test func aPromptThatIsRefusedCancelsTheOthers() async throws {
    let first = Self.hello()
    let (answer, _) = try await Self.post("completions", #"{"model":"base","prompt":["a","b"]}"#, [first])
    #expect(answer.status == 501 && first.isCancelled)
  }

  @Test func errorsInsideAnAnswer() async throws {
    let broken = { ScriptedWriter([.text("a", tokens: [])], failure: .deadlineExceeded(milliseconds: 5)) }
    let (whole, _) = try await Self.post("completions", #"{"model":"base","prompt":"a"}"#, [broken()])
    #expect(whole.status == 504 && whole.code == "deadline-exceeded")
    let writer = broken()
    let (stream, _) = try await Self.post(
      "completions", #"{"model":"base","prompt":"a","stream":true}"#, [writer])
    let last = try #require(Self.events(stream).last)
    #expect(stream.status == 200 && last.hasPrefix(#"{"error":{"message":"The request took longer"#))
    #expect(last.contains(#""code":"deadline-exceeded","deadline_ms":5"#) && writer.isCancelled)
  }

  @Test func theTimeoutGoesToTheWriter() async throws {
    let node = StubNode(writers: [Self.hello()])
    _ = try await handler(node).send(
      .post, "/v1/completions", #"{"model":"base","prompt":"a"}"#, [("X-Request-Timeout", "20")])
    #expect(node.seen.withLock { $0.timeout } == 20)
  }
}
