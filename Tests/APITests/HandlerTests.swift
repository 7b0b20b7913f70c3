import Digests
import HTTPWire
import Synchronization
import Testing

@testable import API
@testable import Serving

@Suite struct HandlerTests {
  @Test(arguments: [
    ("GET", "/livez", 200), ("HEAD", "/livez", 200), ("GET", "/readyz", 200), ("GET", "/metrics", 200),
    ("GET", "/openapi.yaml", 200), ("GET", "/base", 200), ("GET", "/subspaces", 200),
    ("GET", "/subspaces/default", 200), ("GET", "/adapters", 200), ("GET", "/adapters/tickets", 200),
    ("DELETE", "/adapters/tickets", 204), ("GET", "/adapters/tickets/versions/3", 200),
    ("DELETE", "/adapters/tickets/versions/3", 204), ("POST", "/adapters/tickets/rollback", 200),
    ("GET", "/datasets", 200), ("GET", "/datasets/ds_1", 200), ("DELETE", "/datasets/ds_1", 204),
    ("GET", "/jobs", 200), ("GET", "/jobs?state=queued&task=tickets&limit=1&after=x", 200),
    ("GET", "/jobs/job_1", 200), ("POST", "/jobs/job_1/cancel", 200), ("POST", "/jobs/job_1/pause", 200),
    ("POST", "/jobs/job_1/resume", 200), ("GET", "/", 404), ("GET", "/nothing", 404), ("GET", "/livez/", 404),
    ("GET", "//livez", 404), ("GET", "/adapters//versions/3", 404), ("GET", "/adapters/ti%2Fckets", 404),
    ("GET", "/adapters/tickets/versions/0", 404), ("GET", "/adapters/tickets/versions/x", 404),
    ("GET", "/adapters/tickets/versions/+3", 404), ("GET", "/adapters/tickets/versions/1000000000", 404),
    ("GET", "/datasets/ds_2", 404), ("GET", "/jobs/none", 404), ("GET", "/jobs/none/events", 404),
    ("POST", "/livez", 405), ("PUT", "/adapters/tickets", 405), ("GET", "/train", 405),
    ("OPTIONS", "/infer", 405), ("get", "/livez", 405),
  ])
  func routes(method: String, target: String, status: Int) async throws {
    let answer = try await handler().send(HTTPMethod(method), target)
    #expect(answer.status == status, "\(answer.text)")
    #expect(answer["x-request-id"] != nil)
    if status >= 400 {
      #expect(answer["content-type"] == "application/problem+json")
      #expect(answer.json?["status"]?.number?.integer == status)
    }
    if status == 405 {
      #expect(answer["allow"] == answer.json?["allowed"]?.array?.compactMap(\.string).joined(separator: ", "))
    }
  }

  @Test func allowListsHeadWithGet() async throws {
    #expect(try await handler().send(.put, "/datasets/x")["allow"] == "GET, HEAD, DELETE")
  }

  @Test func everyPathStandsUnderTheBasePath() async throws {
    let api = handler { $0.basePath = "/api/v1" }
    #expect(try await api.send(.get, "/api/v1/livez").status == 200)
    #expect(try await api.send(.get, "/api/v1/adapters/tickets").status == 200)
    #expect(try await api.send(.get, "/livez").status == 404)
    #expect(try await api.send(.get, "/adapters/tickets").status == 404)
    let made = try await api.send(
      .post, "/api/v1/datasets?name=rows&kind=regression", "text,value\na,1\n", type: "text/csv")
    #expect(made["location"] == "/api/v1/datasets/ds_1")
  }

  @Test func theClientsRequestIDIsKeptWhereItIsPlain() async throws {
    let longest = String(repeating: "a", count: RequestID.longest)
    for id in ["r-1", longest] {
      let answer = try await handler().send(.get, "/nothing", nil, [("X-Request-Id", id)])
      #expect(answer["x-request-id"] == id)
      #expect(answer.json?["request_id"]?.string == id)
      #expect(answer.json?["instance"]?.string == "/requests/\(id)")
    }
    for id in ["", "a b", "\"", longest + "a"] {
      #expect(try await handler().send(.get, "/livez", nil, [("X-Request-Id", id)])["x-request-id"] != id)
    }
  }

  @Test func aKeyIsAskedForEverywhereButAtTheProbes() async throws {
    let api = handler { $0.apiKey = Digest.sha256(of: "secret") }
    for target in ["/base", "/metrics", "/nothing"] {
      let refused = try await api.send(.get, target)
      #expect(refused.status == 401)
      #expect(refused.code == "unauthorized")
      #expect(refused["www-authenticate"]?.hasPrefix("Bearer") == true)
    }
    for value in ["secret", "Bearer", "Bearer Secret", "Bearer secret2", "Basic secret", "Bearer secret x"] {
      #expect(try await api.send(.get, "/base", nil, [("Authorization", value)]).status == 401)
    }
    for value in ["Bearer secret", "bearer secret"] {
      #expect(try await api.send(.get, "/base", nil, [("Authorization", value)]).status == 200)
    }
    let twice = [("Authorization", "Bearer secret"), ("Authorization", "Bearer secret")]
    #expect(try await api.send(.get, "/base", nil, twice).status == 401)
    #expect(try await api.send(.get, "/livez").status == 200)
    #expect(try await api.send(.get, "/readyz").status == 200)
  }

  @Test(arguments: [
    "/infer", "/adapters/tickets/infer", "/adapters/tickets/activate", "/train", "/subspaces",
    "/datasets?name=rows&kind=classification", "/v1/embeddings", "/v1/completions", "/v1/chat/completions",
    "/v1/files", "/v1/fine_tuning/jobs",
  ])
  func aBodyThatIsNeededAndNotSpokenOfIs411(target: String) async throws {
    let type = ("Content-Type", "application/json")
    for fields in [[], [type]] {
      let refused = try await handler().send(.post, target, bytes: nil, fields)
      #expect(refused.status == 411 && refused.code == "length-required", "\(refused.text)")
    }
    // A body of no bytes is one, and so are chunks.
    for fields in [[type, ("Content-Length", "0")], [type, ("Transfer-Encoding", "chunked")]] {
      let empty = try await handler().send(.post, target, bytes: nil, fields)
      #expect(empty.status == 400 || empty.status == 415, "\(empty.text)")
    }
  }

  @Test func aBodyThatIsNotNeededMayBeMissing() async throws {
    for target in ["/adapters/tickets/rollback", "/jobs/job_1/cancel", "/v1/fine_tuning/jobs/job_1/pause"] {
      #expect(try await handler().send(.post, target).status == 200)
    }
  }

  @Test func notReadyNamesItsReasons() async throws {
    let answer = try await handler(StubNode(ready: false)).send(.get, "/readyz")
    #expect(answer.status == 503)
    #expect(answer.json?["reasons"]?.array?.first?.string == "the base is loading")
  }

  @Test func metricsAreInPrometheusText() async throws {
    let text = try await handler().send(.get, "/metrics").text
    #expect(text.contains("# TYPE corad_rows_answered_total counter\ncorad_rows_answered_total 0\n"))
    let sample = MetricSample("a_b", help: "One\nline.", .gauge, 0.5, labels: [("k", "a\"\\")])
    let further = String(decoding: PrometheusText.bytes(ServingMetrics(), [sample]), as: UTF8.self)
    #expect(further.hasSuffix("# HELP a_b One\\nline.\n# TYPE a_b gauge\na_b{k=\"a\\\"\\\\\"} 0.5\n"))
  }

  @Test func figuresHaveTheNamesThatAdapterRoutersLookFor() {
    var metrics = ServingMetrics()
    metrics.tasks = 7
    metrics.requestsRunning = 3
    metrics.requestsWaiting = 2
    metrics.tasksRunning = ["a", "b"]
    metrics.tasksWaiting = ["c"]
    metrics.time = 1_795_000_000.25
    let text = String(decoding: PrometheusText.bytes(metrics, []), as: UTF8.self)
    #expect(text.contains("# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3\n"))
    #expect(text.contains("\nvllm:num_requests_waiting 2\n"))
    let info =
      #"{max_lora="7",running_lora_adapters="a,b",waiting_lora_adapters="c"}"# + " 1795000000.25\n"
    #expect(text.hasSuffix("# TYPE vllm:lora_requests_info gauge\nvllm:lora_requests_info" + info))
  }

  @Test func predictionsAreOrderedAndCut() async throws {
    let answer = try await handler().send(
      .post, "/adapters/tickets/infer", #"{"inputs":["x","y"],"parameters":{"top_k":2}}"#)
    #expect(
      answer.text == """
        {"task":"tickets","version":3,"subspace":"sha256:01","predictions":[\
        {"label":"b","score":0.5,"scores":[{"label":"b","score":0.5},{"label":"a","score":0.25}]},\
        {"label":"b","score":0.5,"scores":[{"label":"b","score":0.5},{"label":"a","score":0.25}]}],\
        "usage":{"inputs":2,"tokens":10,"truncated":0},"timing":{"queue_ms":0.25,"compute_ms":1.5}}
        """)
  }

  @Test func embeddingsComeInThreeForms() async throws {
    let api = handler()
    let plain = try await api.send(.post, "/adapters/base/infer", #"{"inputs":"x"}"#)
    #expect(plain.json?["embeddings"]?.array?.first?.floats == [1, -0.5])
    #expect(plain.json?["version"] == .null)
    let encoded = try await api.send(.post, "/adapters/base/infer", #"{"inputs":"x","encoding":"base64"}"#)
    #expect(encoded.json?["embeddings"]?.array?.first?.string == "AACAPwAAAL8=")
    let raw = try await api.send(
      .post, "/adapters/base/infer", #"{"inputs":["x","y"]}"#, [("Accept", "application/octet-stream")])
    #expect(raw.bytes == [0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf])
    #expect(raw["x-tensor-shape"] == "2,2")
  }

  @Test func rowsOfManyTasksAreAnsweredInOrder() async throws {
    let body =
      #"{"items":[{"task":"base","input":"x"},{"task":"tickets","input":{"text":"a","text_pair":"b"}}]}"#
    let answer = try await handler().send(.post, "/infer", body)
    let results = try #require(answer.json?["results"]?.array)
    #expect(results[0]["embedding"]?.floats == [1, -0.5])
    #expect(results[1]["prediction"]?["label"]?.string == "b")
  }

  @Test(arguments: [
    ("", "application/json"), ("*/*", "application/json"),
    ("application/octet-stream", "application/octet-stream"),
    ("application/*;q=0.5, application/octet-stream", "application/octet-stream"),
    ("application/octet-stream;q=0.1, */*", "application/json"), ("text/html", nil),
    ("application/json;q=0", nil), ("APPLICATION/JSON", "application/json"),
  ])
  func acceptIsHonoured(accept: String, type: String?) async throws {
    let fields = accept.isEmpty ? [] : [("Accept", accept)]
    let answer = try await handler().send(.post, "/adapters/base/infer", #"{"inputs":"x"}"#, fields)
    if let type { #expect(answer["content-type"] == type) } else { #expect(answer.code == "not-acceptable") }
  }

  /// Bounding it is the node's, by what the operator allows.
  @Test func theTimeoutIsReadAndHandedOn() async throws {
    let node = StubNode()
    let api = handler(node)
    for milliseconds in [20, 1_800_000, 999_999_999_999_999] {
      for (path, body) in [
        ("/adapters/a/infer", #"{"inputs":"x"}"#), ("/v1/embeddings", #"{"model":"base","input":"x"}"#),
      ] {
        let answer = try await api.send(.post, path, body, [("X-Request-Timeout", "\(milliseconds)")])
        #expect(answer.status == 200)
        #expect(node.seen.withLock { $0.timeout } == milliseconds)
      }
    }
    for text in ["0", "-1", "+5", "1.5", "x", "", "99999999999999999999"] {
      let answer = try await api.send(
        .post, "/adapters/a/infer", #"{"inputs":"x"}"#, [("X-Request-Timeout", text)])
      #expect(answer.pointers == ["X-Request-Timeout"])
    }
  }

  @Test func bodiesOfOtherTypesAndSizesAreRefused() async throws {
    let api = handler { $0.inferenceBodyBytes = 20 }
    #expect(try await api.send(.post, "/infer", "{}", type: "text/plain").code == "unsupported-media-type")
    #expect(
      try await api.send(.post, "/infer", nil, [("Content-Length", "0")]).code == "unsupported-media-type")
    #expect(
      try await api.send(
        .post, "/adapters/a/infer", #"{"inputs":"123456"}"#, type: "Application/JSON; charset=utf-8"
      ).status == 200)
    let large = try await api.send(.post, "/adapters/a/infer", #"{"inputs":"12345678"}"#)
    #expect(large.code == "body-too-large")
    #expect(large.json?["limit_bytes"]?.number?.integer == 20)
    #expect(try await api.send(.post, "/jobs/job_1/cancel", "{}").status == 200)
    #expect(try await api.send(.post, "/jobs/job_1/cancel", #"{"force":true}"#).pointers == ["/force"])
  }

  /// Time that grows with the square of the members would be many minutes.
  @Test(.timeLimit(.minutes(1))) func aBodyOfManyMembersIsRefusedPromptly() async throws {
    let members = (0..<200_000).map { "\"k\($0)\":0" }.joined(separator: ",")
    let answer = try await handler().send(
      .post, "/adapters/a/infer", "{\"inputs\":[\"x\"],\(members)}")
    #expect(answer.status == 422)
    #expect(answer.pointers.first == "/k0")
  }

  @Test func unknownQueriesAreRefused() async throws {
    #expect(try await handler().send(.get, "/base?x=1").pointers == ["x"])
    #expect(try await handler().send(.get, "/jobs?limit=1&limit=2").pointers == ["limit"])
    #expect(try await handler().send(.get, "/jobs?state=dead&task=-").pointers == ["state", "task"])
    for limit in ["0", "1001", "-1", "+1", "", "1.0"] {
      #expect(try await handler().send(.get, "/adapters?limit=\(limit)").pointers == ["limit"])
    }
    let long = String(repeating: "a", count: 128)
    #expect(try await handler().send(.get, "/adapters?after=\(long)").status == 200)
    for after in [long + "a", "", "-a", "a%20"] {
      #expect(try await handler().send(.get, "/adapters?after=\(after)").pointers == ["after"])
    }
  }

  @Test func eventsGoOnAfterTheLastAndEnd() async throws {
    let node = StubNode(events: [
      [JobEvent(id: 8, kind: "step", dataJSON: #"{"step":1}"#)], [],
      [JobEvent(id: 9, kind: "state", dataJSON: #"{"state":"succeeded"}"#)],
    ])
    let answer = try await handler(node).send(.get, "/jobs/job_1/events", nil, [("Last-Event-ID", "7")])
    #expect(answer["content-type"] == "text/event-stream")
    #expect(answer["cache-control"] == "no-cache")
    #expect(answer["x-accel-buffering"] == "no")
    #expect(
      answer.text
        == ": events\n\nid: 8\nevent: step\ndata: {\"step\":1}\n\n: wait\n\n"
        + "id: 9\nevent: state\ndata: {\"state\":\"succeeded\"}\n\n")
    #expect(node.seen.withLock { $0.eventsAfter } == [7, 8, 8])
    for id in ["x", "", "-1", "9223372036854775808"] {
      let refused = try await handler().send(.get, "/jobs/job_1/events", nil, [("Last-Event-ID", id)])
      #expect(refused.pointers == ["Last-Event-ID"])
    }
  }

  @Test func proxiesAreBelievedOnlyWhereTrusted() throws {
    let head = try HTTPRequestHead(
      method: .get, target: "/",
      fields: HTTPFields([("Forwarded", "for=1.1.1.1, for=\"[2::2]:9\";proto=https")]))
    let request = HTTPRequest(head: head, peer: .ip("10.0.0.1", port: 5))
    #expect(ClientAddress.of(request, trusted: []) == "10.0.0.1:5")
    #expect(ClientAddress.of(request, trusted: ["10.0.0.1"]) == "[2::2]:9")
  }
}
