import HTTPWire
import Synchronization
import Testing

@testable import API
@testable import Serving

/// The native route of tasks that write, on a scripted writer.
@Suite struct WriterRouteTests {
  private static let usage = WritingUsage(promptTokens: 7, cachedTokens: 4, writtenTokens: 3)

  private static func hello(_ reason: FinishReason = .stop) -> ScriptedWriter {
    ScriptedWriter([
      .text("Hé", tokens: []), .nothing, .text("llo", tokens: []), .end(reason, usage),
    ])
  }

  private static func post(
    _ task: String, _ body: String, _ writers: [ScriptedWriter] = [],
    fields: [(String, String)] = []
  ) async throws -> (Answer, StubNode) {
    let node = StubNode(writers: writers, base: StubNode.decoder)
    let answer = try await handler(node).send(
      .post, "/adapters/\(task)/infer", body, [("X-Request-Id", "r1")] + fields)
    return (answer, node)
  }

  @Test func textsAreAnsweredWhole() async throws {
    let writers = [Self.hello(), Self.hello(.length)]
    let (answer, node) = try await Self.post(
      "poems",
      """
      {"inputs": ["a", {"messages": [{"role": "user", "content": "Hi"}]}],
       "parameters": {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1,
        "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 2, "seed": -1, "stop": ["x"],
        "version": 2}}
      """, writers, fields: [("X-Request-Timeout", "900")])
    #expect(
      answer.text == """
        {"task":"poems","version":3,"subspace":"sha256:01","outputs":[{"text":"Héllo","finish_reason":"stop"},\
        {"text":"Héllo","finish_reason":"length"}],"usage":{"inputs":2,"prompt_tokens":14,"cached_tokens":8,\
        "completion_tokens":6}}
        """)
    let requests = node.seen.withLock { $0.writing }
    var options = WritingOptions()
    (options.maxTokens, options.temperature, options.topP, options.topK) = (5, 0.5, 0.9, 3)
    (options.minP, options.repetitionPenalty) = (0.1, 1.5)
    (options.presencePenalty, options.frequencyPenalty) = (-1, 2)
    (options.seed, options.stop, options.version) = (.max, ["x"], 2)
    #expect(requests.map(\.options) == [options, options])
    #expect(requests.map(\.pointer) == ["/inputs/0", "/inputs/1"])
    #expect(requests.allSatisfy { $0.taskPointer == "task" && $0.optionsPointer == "/parameters" })
    #expect(requests.first?.prompt == .text("a"))
    #expect(
      requests.last?.prompt
        == .conversation(
          Conversation(messagesJSON: #"[{"role":"user","content":"Hi"}]"#, toolsJSON: nil)))
    #expect(node.seen.withLock { $0.timeout } == 900)
    #expect(writers.filter { !$0.isCancelled }.isEmpty)
  }

  @Test func aTextIsStreamed() async throws {
    let writer = Self.hello()
    let (answer, node) = try await Self.post("base", #"{"inputs": "a", "stream": true}"#, [writer])
    #expect(answer["content-type"] == "text/event-stream" && answer["x-accel-buffering"] == "no")
    #expect(
      answer.text == """
        : tokens

        event: token
        data: {"text":"Hé","index":0}

        : wait

        event: token
        data: {"text":"llo","index":1}

        event: done
        data: {"finish_reason":"stop","usage":{"inputs":1,"prompt_tokens":7,"cached_tokens":4,"completion_tokens":3}}


        """)
    #expect(writer.isCancelled && node.seen.withLock { $0.writing.first?.pointer } == "/inputs")
  }

  @Test func aFaultAfterTheBeginningIsTheLastEvent() async throws {
    let writer = ScriptedWriter(
      [.text("He", tokens: [])], failure: .deadlineExceeded(milliseconds: 5))
    let (answer, _) = try await Self.post("base", #"{"inputs": "a", "stream": true}"#, [writer])
    let last = answer.text.split(separator: "\n").last ?? ""
    #expect(answer.text.contains("event: error\ndata: "))
    #expect(
      last.contains(#""code":"deadline-exceeded""#) && last.contains(#""deadline_ms":5"#),
      "\(answer.text)")
    let whole = ScriptedWriter(
      [.text("He", tokens: [])], failure: .deadlineExceeded(milliseconds: 5))
    let (late, _) = try await Self.post("base", #"{"inputs": "a"}"#, [whole])
    #expect(late.status == 504 && whole.isCancelled)
  }

  @Test(arguments: [
    (#"{"inputs": ["a", "b"], "stream": true}"#, ["/stream"]), (#"{"inputs": []}"#, ["/inputs"]),
    (#"{"inputs": ""}"#, ["/inputs"]), (#"{"inputs": ["a", 1]}"#, ["/inputs/1"]),
    (#"{"inputs": {"text": "a"}}"#, ["/inputs/text", "/inputs/messages"]),
    (#"{"inputs": {"messages": [{"role": "x", "content": "a"}]}}"#, ["/inputs/messages/0/role"]),
    (#"{"inputs": "a", "encoding": "float"}"#, ["/encoding"]),
    (#"{"inputs": "a", "parameters": {"truncate": "end"}}"#, ["/parameters/truncate"]),
    (#"{"inputs": "a", "parameters": {"stop": ["a", 1]}}"#, ["/parameters/stop/1"]),
    (#"{"inputs": "a", "parameters": {"max_tokens": 0}}"#, ["/parameters/max_tokens"]),
    ("{}", ["/inputs"]),
  ])
  func whatIsWrongIsNamed(body: String, pointers: [String]) async throws {
    let (answer, node) = try await Self.post("base", body, [Self.hello(), Self.hello()])
    #expect(answer.status == 422 && answer.pointers == pointers, "\(answer.text)")
    #expect(node.seen.withLock { $0.writing.isEmpty })
  }

  @Test func othersAnswerAsBefore() async throws {
    // Of a decoder a task that predicts, and an encoder's base.
    let (answer, _) = try await Self.post("tickets", #"{"inputs": "a"}"#)
    #expect(answer.status == 200 && answer.json?["predictions"] != nil, "\(answer.text)")
    let (refused, _) = try await Self.post("tickets", #"{"inputs": "a", "stream": true}"#)
    #expect(refused.status == 422 && refused.pointers == ["/stream"])
    let embedded = try await handler(StubNode()).send(
      .post, "/adapters/base/infer", #"{"inputs": "a"}"#)
    #expect(embedded.json?["embeddings"] != nil)
    let (raw, _) = try await Self.post(
      "base", #"{"inputs": "a"}"#, [Self.hello()], fields: [("Accept", "application/octet-stream")])
    #expect(raw.status == 406, "\(raw.text)")
    let failing = StubNode(failure: .templateFailed(reason: "no", line: 3), base: StubNode.decoder)
    let failed = try await handler(failing).send(.post, "/adapters/base/infer", #"{"inputs": "a"}"#)
    #expect(failed.status == 422 && failed.code == "template-failed")
    #expect(failed.json?["line"]?.number?.integer == 3 && failed.json?["reason"]?.string == "no")
  }
}
