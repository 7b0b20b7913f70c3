import DaemonSupport
import Foundation
import HTTPClient
import HTTPWire
import TestSupport
import Testing

/// The real binary on a decoder that writes, over sockets.
@Suite(.serialized) struct WriterTests {
  private static let template = """
    {%- for message in messages -%}
    {%- if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif -%}
    {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endfor -%}
    {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
    """

  /// A daemon on a base that never ends a text by itself and has room for long ones.
  private struct Stand: Sendable {
    let made: MadeDecoder
    let folder: TemporaryFolder
    let daemon: LiveDaemon

    static func start(_ arguments: [String] = []) async throws -> Stand {
      var shape = MadeDecoder.Shape.withTokenizer
      shape.positions = 8_192
      let made = try MadeDecoder(
        shape, tokenizer: "qwen.json",
        files: ["generation_config.json": #"{"eos_token_id": [100000]}"#, "chat_template.jinja": template])
      let folder = try TemporaryFolder()
      let daemon = try await LiveDaemon.start(
        store: folder.path + "/store.sqlite", folder: folder.path, model: made.directory,
        arguments: arguments)
      return Stand(made: made, folder: folder, daemon: daemon)
    }

    func post(_ path: String, _ body: String, _ fields: [(String, String)] = []) async throws -> Answer {
      try await daemon.send(.post, path, fields: fields, body: body)
    }

    func figure(_ name: String) async throws -> Double {
      let text = try await daemon.send(.get, "/metrics").text
      let line = text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
      return line.flatMap { Double($0.dropFirst(name.count + 1)) } ?? .nan
    }

    /// Nothing is written, waits or holds pages but those that are kept for prompts to come.
    func isIdle(seconds: Double = 20) async throws -> Bool {
      try await eventually(seconds: seconds) {
        let running = try await figure("corad_generation_running")
        let waiting = try await figure("corad_generation_waiting")
        let pages = try await figure("corad_generation_pages")
        let kept = try await figure("corad_generation_prefix_pages")
        return running + waiting == 0 && pages == kept
      }
    }
  }

  /// The events of a stream, up to so many.
  private static func events(
    _ url: String, _ path: String, _ body: String, fields: [(String, String)] = [], upTo count: Int = .max
  ) async throws -> [ServerSentEvent] {
    try await blocking {
      var events: [ServerSentEvent] = []
      try HTTPClient(url: url, timeout: .seconds(60)).events(
        posting: Array(body.utf8), to: path, fields: [("Content-Type", "application/json")] + fields
      ) { event in
        events.append(event)
        return events.count < count
      }
      return events
    }
  }

  private static func json(_ event: ServerSentEvent) -> JSON {
    (try? JSONDecoder().decode(JSON.self, from: Data(event.data))) ?? .null
  }

  private static let long =
    #"{"inputs": "a long story", "parameters": {"max_tokens": 8000, "seed": 1}, "stream": true}"#

  @Test func textsAreWrittenWholeAndStreamed() async throws {
    let stand = try await Stand.start()
    let url = stand.daemon.addresses[0]
    let native = "/adapters/base/infer"
    let parameters = #""parameters": {"max_tokens": 24, "temperature": 0}"#
    let whole = try await stand.post(native, #"{"inputs": ["a story", "a tale"], \#(parameters)}"#)
    #expect(whole.status == 200, "\(whole.text)")
    #expect(whole.json["outputs"].items.count == 2 && whole.json["version"] == .null)
    #expect(whole.json["outputs"][0]["finish_reason"].string == "length")
    #expect(whole.json["usage"]["inputs"].int == 2 && whole.json["usage"]["completion_tokens"].int == 48)
    let text = try #require(whole.json["outputs"][0]["text"].string)
    #expect(text.utf8.count > 10)

    let streamed = try await Self.events(
      url, native, #"{"inputs": "a story", \#(parameters), "stream": true}"#)
    let tokens = streamed.filter { $0.event == "token" }.map(Self.json)
    #expect(tokens.compactMap { $0["text"].string }.joined().utf8.elementsEqual(text.utf8))
    #expect(tokens.compactMap { $0["index"].int } == Array(0..<tokens.count))
    #expect(streamed.last?.event == "done")
    let done = streamed.last.map(Self.json) ?? .null
    #expect(done["finish_reason"].string == "length" && done["usage"]["completion_tokens"].int == 24)

    let order = #""model": "base", "prompt": "a story", "max_tokens": 24, "temperature": 0"#
    let completion = try await stand.post("/v1/completions", "{\(order), \"logprobs\": 2}")
    #expect(completion.status == 200, "\(completion.text)")
    #expect(completion.json["choices"][0]["text"].string.map { Array($0.utf8) } == Array(text.utf8))
    #expect(completion.json["choices"][0]["logprobs"]["token_logprobs"].items.count == 24)
    #expect(completion.json["choices"][0]["logprobs"]["top_logprobs"].items.count == 24)
    let chunks = try await Self.events(url, "/v1/completions", "{\(order), \"stream\": true}")
    #expect(chunks.last.map { $0.data } == Array("[DONE]".utf8))
    let joined = chunks.dropLast().compactMap { Self.json($0)["choices"][0]["text"].string }.joined()
    #expect(joined.utf8.elementsEqual(text.utf8))

    let chat =
      #""model": "base", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 24, "seed": 5"#
    let said = try await stand.post("/v1/chat/completions", "{\(chat), \"logprobs\": true}")
    #expect(said.status == 200, "\(said.text)")
    let message = said.json["choices"][0]["message"]["content"].string ?? ""
    let probabilities = said.json["choices"][0]["logprobs"]["content"].items
    #expect(probabilities.count == 24 && probabilities.allSatisfy { $0["logprob"].double ?? 1 <= 0 })
    let again = try await Self.events(url, "/v1/chat/completions", "{\(chat), \"stream\": true}")
    let pieces = again.dropLast().compactMap { Self.json($0)["choices"][0]["delta"]["content"].string }
    #expect(pieces.joined().utf8.elementsEqual(message.utf8))
    let other = try await stand.post(
      "/v1/chat/completions", "{\(chat.replacingOccurrences(of: "5", with: "6"))}")
    #expect(other.json["choices"][0]["message"]["content"].string != message)
    let same = try await stand.post(
      native,
      #"{"inputs": {"messages": [{"role": "user", "content": "Hi"}]}, "parameters": {"max_tokens": 24, "seed": 5}}"#
    )
    #expect(same.json["outputs"][0]["text"].string.map { Array($0.utf8) } == Array(message.utf8))

    let scalars = Array(text.unicodeScalars)
    let stop = String(String.UnicodeScalarView(scalars[scalars.count / 2..<scalars.count / 2 + 4]))
    let encoded = String(decoding: try JSONEncoder().encode(stop), as: UTF8.self)
    let stopped = try await stand.post(
      native,
      #"{"inputs": "a story", "parameters": {"max_tokens": 24, "temperature": 0, "stop": \#(encoded)}}"#)
    #expect(stopped.json["outputs"][0]["finish_reason"].string == "stop", "\(stopped.text)")
    let before = stopped.json["outputs"][0]["text"].string ?? stop
    #expect(!before.contains(stop) && text.utf8.starts(with: (before + stop).utf8))
    #expect(try await stand.isIdle())
    #expect(try await stand.figure("vllm:num_requests_running") == 0)
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test func whatCannotBeWrittenIsRefused() async throws {
    let stand = try await Stand.start(["--kv-cache-bytes", "1048576", "--lanes", "1"])
    let tool = #"[{"role": "tool", "content": "a", "tool_call_id": "1"}]"#
    for (path, body) in [
      ("/adapters/base/infer", #"{"inputs": {"messages": \#(tool)}}"#),
      ("/v1/chat/completions", #"{"model": "base", "messages": \#(tool)}"#),
    ] {
      let failed = try await stand.post(path, body)
      let problem = path.hasPrefix("/v1/") ? failed.json["error"] : failed.json
      #expect(failed.status == 422 && problem["code"].string == "template-failed", "\(failed.text)")
      #expect(problem["reason"].string == "no tools here" && problem["line"].int == 2)
    }
    let two = try await stand.post("/adapters/base/infer", #"{"inputs": ["a", "b"], "stream": true}"#)
    #expect(two.status == 422 && two.json["errors"][0]["pointer"].string == "/stream", "\(two.text)")
    let words = String(repeating: "word ", count: 3_000)
    let full = try await stand.post("/v1/completions", #"{"model": "base", "prompt": "\#(words)"}"#)
    // 512 bytes a token: the cache is shorter than the context.
    #expect(full.status == 422 && full.json["error"]["limit"].int == 2_047, "\(full.text)")
    #expect(full.json["error"]["tokens"].int ?? 0 > 2_048)
    let events = try await Self.events(
      stand.daemon.addresses[0], "/adapters/base/infer",
      #"{"inputs": "a", "parameters": {"max_tokens": 2000}, "stream": true}"#,
      fields: [("X-Request-Timeout", "150")])
    #expect(events.last?.event == "error")
    #expect(events.last.map(Self.json)?["code"].string == "deadline-exceeded")
    let late = try await stand.post(
      "/v1/completions", #"{"model": "base", "prompt": "a", "max_tokens": 2000}"#,
      [("X-Request-Timeout", "50")])
    #expect(late.status == 504 && late.json["error"]["deadline_ms"].int == 50, "\(late.text)")
    #expect(try await stand.isIdle())
    #expect(try await stand.figure("corad_generation_expired_total") == 2)
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test func aClientThatLeavesTakesItsTextAlong() async throws {
    let stand = try await Stand.start()
    let url = stand.daemon.addresses[0]
    #expect(try await Self.events(url, "/adapters/base/infer", Self.long, upTo: 3).count == 3)
    #expect(try await stand.isIdle(seconds: 3))
    #expect(try await stand.figure("corad_generation_tokens_written_total") < 8_000)
    // And one that waits for the whole.
    let left = try await blocking { () -> ClientError? in
      do throws(ClientError) {
        _ = try HTTPClient(url: url, timeout: .milliseconds(300)).send(
          .post, "/v1/completions", fields: ProxyTests.json,
          body: Array(#"{"model": "base", "prompt": "a long story", "max_tokens": 8000}"#.utf8))
        return nil
      } catch {
        return error
      }
    }
    #expect(left == .timeout)
    #expect(try await stand.isIdle(seconds: 3))
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  /// 1,000 clients where CORAD_SOAK=1, 200 otherwise.
  @Test func clientsThatVanishLeaveTheirNeighboursTexts() async throws {
    let clients = ProcessInfo.processInfo.environment["CORAD_SOAK"] == "1" ? 1_000 : 200
    let stand = try await Stand.start()
    let url = stand.daemon.addresses[0]
    @Sendable func body(_ index: Int) -> String {
      #"{"inputs": "a tale of \#(index % 7)", "parameters": {"max_tokens": 40, "seed": \#(index % 5)}}"#
    }
    @Sendable func text(_ answer: Answer) -> [UInt8] {
      Array((answer.json["outputs"][0]["text"].string ?? "no text").utf8)
    }
    var alone: [String: [UInt8]] = [:]
    for index in 0..<35 {
      alone[body(index)] = text(try await stand.post("/adapters/base/infer", body(index)))
    }
    let expected = alone
    #expect(expected.count == 35 && !expected.values.contains(Array("no text".utf8)))
    let wrong = try await withThrowingTaskGroup(of: [String].self) { group in
      for worker in 0..<8 {
        group.addTask {
          try await blocking {
            var random = SystemRandomNumberGenerator()
            var wrong: [String] = []
            for index in stride(from: worker, to: clients, by: 8) {
              if index % 4 == 0 {
                let answer = try Answer(
                  HTTPClient(url: url, timeout: .seconds(60)).send(
                    .post, "/adapters/base/infer", fields: ProxyTests.json, body: Array(body(index).utf8)))
                if text(answer) != expected[body(index)] { wrong.append(answer.text) }
                continue
              }
              guard let connection = RawConnection(url) else { continue }
              let head =
                "POST /adapters/base/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(Self.long.utf8.count)\r\n\r\n"
              let all = Array((head + Self.long).utf8)
              // Some leave in the middle of their request, some before they have heard anything, some after a while.
              let leaves = Int.random(in: 0..<4, using: &random)
              if leaves == 0 {
                connection.say(
                  String(decoding: all.prefix(Int.random(in: 1..<all.count, using: &random)), as: UTF8.self))
                continue
              }
              connection.say(head + Self.long)
              if leaves == 2 { _ = connection.hear(until: "event: token") }
              if leaves == 3 {
                let count = Int.random(in: 1..<30, using: &random)
                _ = connection.hear(until: "\"index\":\(count)}")
              }
            }
            return wrong
          }
        }
      }
      return try await group.reduce(into: [String]()) { $0 += $1 }
    }
    #expect(wrong.isEmpty, "\(wrong.count): \(wrong.first ?? "")")
    #expect(try await stand.isIdle())
    for (body, before) in expected {
      #expect(text(try await stand.post("/adapters/base/infer", body)) == before)
    }
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test func aStopLetsATextEnd() async throws {
    let stand = try await Stand.start()
    let url = stand.daemon.addresses[0]
    let body = #"{"inputs": "a story", "parameters": {"max_tokens": 1500, "seed": 1}, "stream": true}"#
    let events = try await blocking {
      var events: [ServerSentEvent] = []
      try HTTPClient(url: url, timeout: .seconds(60)).events(
        posting: Array(body.utf8), to: "/adapters/base/infer", fields: ProxyTests.json
      ) { event in
        events.append(event)
        if events.count == 3 { stand.daemon.signal(SIGTERM) }
        return true
      }
      return events
    }
    #expect(events.last?.event == "done")
    #expect(events.last.map(Self.json)?["usage"]["completion_tokens"].int == 1_500)
    #expect(await stand.daemon.ended() == .exit(0))
  }

  @Test func aChatIsStreamedThroughNginx() async throws {
    let stand = try await Stand.start()
    let direct = String(stand.daemon.addresses[0].dropFirst("http://".count))
    let nginx = try await Nginx.start(upstream: direct)
    let chat =
      #"{"model": "base", "messages": [{"role": "user", "content": "Hi"}], "seed": 3, "stream": true, "max_tokens": "#
    // What is heard is heard while the text is written.
    let (heard, running) = try await blocking { () -> (Int, Double) in
      var heard = 0
      var running = Double.nan
      try HTTPClient(url: nginx.url, timeout: .seconds(60)).events(
        posting: Array((chat + "8000}").utf8), to: "/v1/chat/completions", fields: ProxyTests.json
      ) { _ in
        heard += 1
        guard heard == 5 else { return true }
        let text = (try? HTTPClient(url: stand.daemon.addresses[0]).send(.get, "/metrics").text) ?? ""
        let name = "corad_generation_running "
        running =
          text.split(separator: "\n").first { $0.hasPrefix(name) }
          .flatMap { Double($0.dropFirst(name.count)) } ?? .nan
        return false
      }
      return (heard, running)
    }
    #expect(heard == 5 && running == 1)
    #expect(try await stand.isIdle(seconds: 5))
    let through = try await Self.events(nginx.url, "/v1/chat/completions", chat + "60}")
    let straight = try await Self.events(stand.daemon.addresses[0], "/v1/chat/completions", chat + "60}")
    func text(_ events: [ServerSentEvent]) -> String {
      events.compactMap { Self.json($0)["choices"][0]["delta"]["content"].string }.joined()
    }
    #expect(text(through).utf8.elementsEqual(text(straight).utf8) && !text(through).isEmpty)
    #expect(through.last.map { $0.data } == Array("[DONE]".utf8))
    #expect(await stand.daemon.terminate() == .exit(0))
  }
}
