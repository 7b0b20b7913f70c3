import Adapters
import Digests
import HTTPWire
import Models
import Synchronization
import Testing
import Training

@testable import API
@testable import Serving

/// Models, embeddings, files and jobs by their OpenAI names.
@Suite struct OpenAITests {
  @Test(arguments: [
    ("GET", "/v1/models", 200), ("GET", "/v1/models/base", 200), ("GET", "/v1/models/tickets", 200),
    ("GET", "/v1/models/tickets@3", 200), ("GET", "/v1/models/base@1", 404), ("GET", "/v1/models/-", 404),
    ("DELETE", "/v1/models/tickets", 200), ("DELETE", "/v1/models/tickets@3", 200),
    ("DELETE", "/v1/models/base", 409), ("GET", "/v1/files", 200), ("GET", "/v1/files/ds_1", 200),
    ("GET", "/v1/files/ds_1/content", 200), ("DELETE", "/v1/files/ds_1", 200), ("GET", "/v1/files/ds_2", 404),
    ("GET", "/v1/files/ds_2/content", 404), ("GET", "/v1/fine_tuning/jobs", 200),
    ("GET", "/v1/fine_tuning/jobs/job_1", 200), ("GET", "/v1/fine_tuning/jobs/none", 404),
    ("GET", "/v1/fine_tuning/jobs/job_1/events", 200), ("GET", "/v1/fine_tuning/jobs/job_1/checkpoints", 200),
    ("POST", "/v1/fine_tuning/jobs/job_1/cancel", 200), ("POST", "/v1/fine_tuning/jobs/job_1/pause", 200),
    ("POST", "/v1/fine_tuning/jobs/job_1/resume", 200), ("GET", "/v1/nothing", 404),
    ("PUT", "/v1/files", 405),
    ("GET", "/v1/models?x=1", 422), ("GET", "/v1/files?order=asc", 422),
    ("GET", "/v1/files?purpose=a%20b", 422),
    ("GET", "/v1/fine_tuning/jobs?limit=0", 422),
  ])
  func routes(method: String, target: String, status: Int) async throws {
    let answer = try await handler().send(HTTPMethod(method), target)
    #expect(answer.status == status, "\(answer.text)")
    guard status >= 400 else { return }
    #expect(answer["content-type"] == "application/json")
    guard case .object(let members)? = answer.json?["error"] else {
      Issue.record("no error: \(answer.text)")
      return
    }
    #expect(members.prefix(4).map(\.name) == ["message", "type", "param", "code"])
  }

  @Test func errorsHaveOneFormForAPath() async throws {
    let api = handler(StubNode(failure: .overloaded(depth: 9, limit: 8, retryAfterSeconds: 2))) {
      $0.apiKey = Digest.sha256(of: "secret")
      $0.basePath = "/base"
    }
    let key = [("Authorization", "Bearer secret")]
    let unknown = try await api.send(.get, "/base/v1/models")
    #expect(unknown.status == 401 && unknown["www-authenticate"] != nil)
    #expect(unknown.json?["error"]?["type"]?.string == "authentication_error")
    let busy = try await api.send(.get, "/base/v1/models", nil, key)
    #expect(busy["retry-after"] == "2")
    #expect(
      busy.text
        == #"{"error":{"message":"9 are waiting; the limit is 8.","type":"rate_limit_error","param":null,"code":"overloaded","queue_depth":9,"limit":8}}"#
    )
    #expect(try await api.send(.get, "/base/jobs", nil, key)["content-type"] == "application/problem+json")
    #expect(try await api.send(.get, "/v1/models", nil, key)["content-type"] == "application/problem+json")
    let failed = try await handler(StubNode(failure: .storeUnavailable(cause: "SQL"))).send(.get, "/v1/files")
    #expect(
      failed.text
        == #"{"error":{"message":"The store cannot be used.","type":"server_error","param":null,"code":"store-unavailable"}}"#
    )
  }

  @Test func tasksAreModelsOfTheBase() async throws {
    #expect(
      try await handler().send(.get, "/v1/models").text == """
        {"object":"list","data":[{"id":"base","object":"model","created":0,"owned_by":"corad","root":"base",\
        "parent":null},{"id":"tickets","object":"model","created":1767323045,"owned_by":"corad","root":"base",\
        "parent":"base"}],"has_more":true}
        """)
    let next = try await handler().send(.get, "/v1/models?after=tickets&limit=1")
    #expect(next.json?["data"]?.array?.count == 1)
    let one = try await handler().send(.get, "/v1/models/tickets@3")
    #expect(one.json?["id"]?.string == "tickets@3" && one.json?["parent"]?.string == "base")
    #expect(
      try await handler().send(.delete, "/v1/models/tickets").text
        == #"{"id":"tickets","object":"model","deleted":true}"#)
  }

  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0), ("2026-01-02T03:04:05Z", 1_767_323_045),
    ("2000-02-29T12:00:00.999Z", 951_825_600),
    ("2100-03-01T00:00:00.000Z", 4_107_542_400), ("", nil), ("2026-01-02", nil),
  ])
  func timesAreSeconds(text: String, seconds: Int?) {
    #expect(UnixTime.seconds(text) == seconds)
  }

  @Test func everyTimeIsRead() {
    for milliseconds in stride(from: Int64(0), to: 4_000_000_000_000, by: 12_345_678_901) {
      #expect(UnixTime.seconds(Timestamp.text(milliseconds)) == Int(milliseconds / 1_000))
    }
  }

  @Test func embeddingsComeAsFloatsAndAsBase64() async throws {
    let node = StubNode()
    let plain = try await handler(node).send(
      .post, "/v1/embeddings", #"{"model":"base","input":["x","y"],"user":"u","dimensions":4}"#)
    #expect(
      plain.text == """
        {"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]},\
        {"object":"embedding","index":1,"embedding":[1.0,-0.5]}],"model":"base",\
        "usage":{"prompt_tokens":10,"total_tokens":10}}
        """)
    #expect(node.seen.withLock { $0.inputs.pointer(1) } == "/input/1")
    let encoded = try await handler(node).send(
      .post, "/v1/embeddings", #"{"model":"base","input":"x","encoding_format":"base64"}"#)
    #expect(encoded.json?["data"]?.array?.first?["embedding"]?.string == "AACAPwAAAL8=")
    #expect(node.seen.withLock { $0.inputs.pointer(0) } == "/input")
    let wrong = try await handler().send(.post, "/v1/embeddings", #"{"model":"tickets","input":"x"}"#)
    #expect(wrong.status == 422 && wrong.problem?["param"]?.string == "/model", "\(wrong.text)")
    #expect(wrong.problem?["errors"]?.array?.first?["allowed"]?.string == "embedding")
    _ = try await handler(node).send(.post, "/v1/embeddings", #"{"model":"base@2","input":"x"}"#)
    #expect(node.seen.withLock { $0.options.version } == 2)
  }

  @Test(arguments: [
    (#""input":[1,2]"#, "/input"), (#""input":[[1]]"#, "/input/0"), (#""input":[]"#, "/input"),
    (#""input":"""#, "/input"), (#""input":["a",""]"#, "/input/1"), (#""input":{}"#, "/input"),
    (#""input":"a","dimensions":3"#, "/dimensions"),
    (#""input":"a","encoding_format":"int8""#, "/encoding_format"),
    (#""input":"a","unheard":null"#, "/unheard"),
  ])
  func badEmbeddingsAreNamed(fields: String, pointer: String) async throws {
    let answer = try await handler().send(.post, "/v1/embeddings", #"{"model":"base",\#(fields)}"#)
    #expect(answer.status == 422 && answer.pointers == [pointer], "\(answer.text)")
  }

  // MARK: files

  private static let row = #"{"text":"a","label":"x"}"#

  private static func form(_ parts: [(String, String?, String)]) -> String {
    parts.map { name, fileName, content in
      let file = fileName.map { "; filename=\"\($0)\"" } ?? ""
      return "--bb\r\nContent-Disposition: form-data; name=\"\(name)\"\(file)\r\n\r\n\(content)\r\n"
    }.joined() + "--bb--\r\n"
  }

  private func upload(
    _ parts: [(String, String?, String)], _ node: StubNode = StubNode()
  ) async throws -> Answer {
    try await handler(node).send(
      .post, "/v1/files", Self.form(parts), type: "multipart/form-data; boundary=bb")
  }

  @Test func aFileIsADataSetOfItsRowsKind() async throws {
    let node = StubNode()
    let answer = try await upload(
      [("purpose", nil, "fine-tune"), ("file", "tick ets.jsonl", "\n \(Self.row)\n\n\(Self.row)")], node)
    #expect(answer.status == 200, "\(answer.text)")
    #expect(
      answer.text == """
        {"id":"ds_1","object":"file","bytes":20,"created_at":1767323045,"filename":"rows","purpose":"fine-tune",\
        "status":"processed","rows":2,"kind":"classification"}
        """)
    node.seen.withLock { seen in
      #expect(seen.finished && !seen.abandoned && seen.wasOnLoop == false)
      #expect(seen.rows == Array(repeating: .classification(text: "a", label: "x"), count: 2))
      #expect(seen.dataset?.name == "tick_ets.jsonl" && seen.dataset?.kind == .classification)
    }
    // The purpose may come last.
    let pairs = StubNode()
    let later = try await upload(
      [("file", "p", #"{"anchor":"a","positive":"b"}"#), ("purpose", nil, "fine-tune")], pairs)
    #expect(later.status == 200 && pairs.seen.withLock { $0.dataset?.kind } == .embedding)
  }

  @Test(
    arguments: [
      ([("file", "f", row)], "validation-failed", "purpose"),
      ([("purpose", nil, "fine-tune")], "validation-failed", "file"),
      ([("purpose", nil, "batch"), ("file", "f", row)], "validation-failed", "purpose"),
      ([("purpose", nil, "fine-tune"), ("file", "f", "\n \n")], "validation-failed", "file"),
      ([("purpose", nil, "fine-tune"), ("file", "f", row), ("file", "g", row)], "validation-failed", "file"),
      (
        [("purpose", nil, "fine-tune"), ("expires_after[seconds]", nil, "9"), ("file", "f", row)],
        "validation-failed", "expires_after[seconds]"
      ),
      ([("purpose", nil, "fine-tune"), ("file", "f", row + "\nnope\n")], "invalid-row", nil),
      ([("purpose", nil, "fine-tune"), ("file", "f", "nope")], "invalid-row", nil),
      (
        [("purpose", nil, "fine-tune"), ("file", "f", row + "\n" + #"{"anchor":"a","positive":"b"}"#)],
        "invalid-row", nil
      ),
    ] as [([(String, String?, String)], String, String?)])
  func badFormsAreNamed(parts: [(String, String?, String)], code: String, param: String?) async throws {
    let node = StubNode()
    let answer = try await upload(parts, node)
    #expect(answer.status == 422 && answer.code == code, "\(answer.text)")
    #expect(answer.json?["error"]?["param"]?.string == param, "\(answer.text)")
    #expect(!node.seen.withLock { $0.finished })
    #expect(node.seen.withLock { $0.abandoned == ($0.dataset != nil) })
  }

  @Test func aFileOfConversationsOrCompletionsIsForWriting() async throws {
    let node = StubNode()
    let talk =
      #"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#
    let pair = #"{"prompt":"a","completion":"b","weight":2.5}"#
    let answer = try await upload(
      [("purpose", nil, "fine-tune"), ("file", "f", talk + "\n" + pair)], node)
    #expect(answer.status == 200, "\(answer.text)")
    let rows = node.seen.withLock { $0.rows }
    #expect(
      rows == [
        .conversation(messages: [
          ConversationMessage(role: .system, content: "s"), ConversationMessage(role: .user, content: "a"),
          ConversationMessage(role: .assistant, content: "b"),
        ]), .completion(prompt: "a", completion: "b", weight: 2.5),
      ])
    #expect(node.seen.withLock { $0.dataset?.kind } == .generation)
    #expect(String(decoding: FileRows.lines(rows), as: UTF8.self) == talk + "\n" + pair + "\n")
    let bad = try await upload(
      [
        ("purpose", nil, "fine-tune"), ("file", "f", "\n" + #"{"messages":[{"role":"user","content":"a"}]}"#),
      ])
    #expect(bad.code == "invalid-row" && bad.json?["error"]?["line"]?.number?.integer == 2, "\(bad.text)")
    #expect(bad.text.contains("no turn of the assistant"), "\(bad.text)")
  }

  @Test func brokenFormsAndOtherTypesAreRefused() async throws {
    let api = handler()
    let form = Self.form([("purpose", nil, "fine-tune"), ("file", "f", Self.row + "\n" + Self.row)])
    #expect(try await api.send(.post, "/v1/files", form).code == "unsupported-media-type")
    #expect(
      try await api.send(.post, "/v1/files", form, type: "multipart/form-data").code == "malformed-request")
    let other = try await api.send(.post, "/v1/files", form, type: "multipart/form-data; boundary=cc")
    #expect(other.code == "malformed-request")
    let node = StubNode()
    let cut = try await handler(node).send(
      .post, "/v1/files", String(form.dropLast(6)), type: "multipart/form-data; boundary=bb")
    #expect(cut.code == "malformed-request" && node.seen.withLock { $0.abandoned })
    let small = handler { $0.datasetBytes = form.utf8.count - 1 }
    #expect(
      try await small.send(.post, "/v1/files", form, type: "multipart/form-data; boundary=bb").code
        == "body-too-large")
  }

  @Test func firstRowsAreFoundHoweverTheyAreCut() throws {
    let bytes = Array("\r\n \n\(#"{"text":"a","value":1}"#)\n".utf8)
    for cut in 0..<bytes.count {
      var first = FirstRow()
      #expect(try first.receive(Array(bytes[..<cut]), isLast: false) == nil)
      #expect(try first.receive(Array(bytes[cut...]), isLast: false) == .regression)
      #expect(first.bytes == bytes)
    }
    var single = FirstRow()
    for byte in bytes.dropLast() { #expect(try single.receive([byte], isLast: false) == nil) }
    #expect(try single.receive([], isLast: true) == .regression)
    var none = FirstRow()
    #expect(try none.receive([], isLast: true) == nil)
    var blanks = FirstRow()
    #expect(try blanks.receive(Array(repeating: 0x20, count: Limits.rowBytes), isLast: false) == nil)
    #expect(throws: ServingError.self) { try blanks.receive([0x20], isLast: false) }
  }

  @Test(arguments: [
    ("a.jsonl", "a.jsonl"), (nil, "file"), ("", "file"), ("../../etc/passwd", "etc_passwd"),
    ("träin", "tr_in"),
    ("---", "file"), (String(repeating: "a", count: 200), String(repeating: "a", count: 128)),
  ])
  func fileNamesBecomeNames(given: String?, name: String) {
    #expect(FileUpload.name(given) == name)
    #expect(Names.isValid(FileUpload.name(given)))
  }

  @Test func contentIsTheRowsAsTheyWereRead() async throws {
    let answer = try await handler().send(.get, "/v1/files/ds_1/content")
    #expect(answer["content-type"] == "application/x-ndjson")
    #expect(
      answer.text == """
        {"text":"a","text_pair":"b","weight":0.5,"label":"x"}
        {"text":"c","labels":["y","z"]}
        {"text":"d","value":-1.5}
        {"anchor":"e","positive":"f","negative":"g"}

        """)
  }

  // MARK: jobs

  @Test func aJobIsTheOneThatTrainMakes() async throws {
    let node = StubNode()
    let answer = try await handler(node).send(
      .post, "/v1/fine_tuning/jobs",
      #"{"model":"base","training_file":"ds_1","suffix":"mine","seed":7,"hyperparameters":{"n_epochs":2,"batch_size":"auto","learning_rate_multiplier":0.5}}"#,
      [("Idempotency-Key", "k")])
    #expect(answer.status == 200, "\(answer.text)")
    let request = try #require(node.seen.withLock { $0.training })
    let usual = TrainingSettings.defaults(kind: .classification, method: "cora", on: .encoder)
    #expect(request.task == "mine" && request.from == nil && request.idempotencyKey == "k")
    #expect(request.settings.epochs == 2 && request.settings.batchSize == usual.batchSize)
    #expect(request.settings.seed == 7 && request.settings.learningRate == usual.learningRate * 0.5)
    #expect(request.settings.headLearningRate == usual.headLearningRate * 0.5)
    guard case .dataset("ds_1") = request.data else {
      Issue.record("another data set")
      return
    }
  }

  @Test func aRepeatedRequestIsItsJobWhenItsFileAndModelAreGone() async throws {
    let node = StubNode()
    let key = [("Idempotency-Key", "k")]
    let body = #"{"model":"tickets","training_file":"ds_1"}"#
    let first = try await handler(node).send(.post, "/v1/fine_tuning/jobs", body, key)
    #expect(first.status == 200)
    node.seen.withLock { $0.isEmptied = true }
    let again = try await handler(node).send(.post, "/v1/fine_tuning/jobs", body, key)
    #expect(again.status == 200 && again.bytes == first.bytes)
    let other = try await handler(node).send(.post, "/v1/fine_tuning/jobs", body + " ", key)
    #expect(other.code == "idempotency-conflict")
    #expect(try await handler(node).send(.post, "/v1/fine_tuning/jobs", body).status == 404)
  }

  @Test func aModelsVersionIsGoneOnFrom() async throws {
    let node = StubNode()
    for (model, suffix, task) in [("tickets", "", "tickets"), ("tickets@3", #","suffix":"next""#, "next")] {
      let body = #"{"model":"\#(model)","training_file":"ds_1"\#(suffix)}"#
      #expect(try await handler(node).send(.post, "/v1/fine_tuning/jobs", body).status == 200)
      let request = try #require(node.seen.withLock { $0.training })
      #expect(request.task == task && request.from?.task == "tickets" && request.from?.version == 3)
      #expect(request.settings.rank == 8 && request.settings.method == "cora")
    }
    // Without any name it is the file's.
    let body = #"{"model":"base","training_file":"ds_1","method":{"type":"supervised"}}"#
    _ = try await handler(node).send(.post, "/v1/fine_tuning/jobs", body)
    #expect(node.seen.withLock { $0.training?.task } == "rows")
  }

  @Test(arguments: [
    (#""validation_file":"ds_1""#, "/validation_file"),
    (#""integrations":[{"type":"wandb"}]"#, "/integrations"),
    (#""method":{"type":"dpo"}"#, "/method/type"),
    (#""method":{"type":"supervised","dpo":{}}"#, "/method/dpo"),
    (#""suffix":"base""#, "/suffix"), (#""suffix":"a b""#, "/suffix"), (#""seed":-1"#, "/seed"),
    (#""hyperparameters":{"n_epochs":"many"}"#, "/hyperparameters/n_epochs"),
    (#""hyperparameters":{"learning_rate_multiplier":0}"#, "/hyperparameters/learning_rate_multiplier"),
    (
      #""hyperparameters":{},"method":{"type":"supervised","supervised":{"hyperparameters":{}}}"#,
      "/hyperparameters"
    ),
    (
      #""method":{"type":"supervised","supervised":{"hyperparameters":{"batch_size":0}}}"#,
      "/method/supervised/hyperparameters/batch_size"
    ),
  ])
  func badJobsAreNamed(field: String, pointer: String) async throws {
    let answer = try await handler().send(
      .post, "/v1/fine_tuning/jobs", #"{"model":"base","training_file":"ds_1",\#(field)}"#)
    #expect(answer.status == 422 && answer.pointers == [pointer], "\(answer.text)")
  }

  @Test func refusalsOfTrainingHaveThisBodysNames() {
    let problem = Problem(ServingError.validation([FieldError("/data", "has 1 rows", allowed: "at least 2")]))
    let renamed = try? JSONReader.read(problem.renamed.openAI())
    #expect(renamed?["error"]?["param"]?.string == "/training_file")
    #expect(renamed?["error"]?["message"]?.string == "/training_file has 1 rows.")
  }

  @Test func jobsAreWrittenAsOpenAIDoes() async throws {
    let settings =
      #"{"kind":"classification","method":"cora","epochs":2,"batch_size":32,"learning_rate":\#(TrainingSettings.defaults(kind: .classification, method: "cora", on: .encoder).learningRate * 2.5),"seed":7,"from":"tickets@3"}"#
    let job = JobSummary(
      id: "job_1", type: .train, state: .failed, task: "tickets", method: "cora", settingsJSON: settings,
      progress: 1, epoch: nil, step: nil, steps: nil, loss: nil, examplesPerSecond: nil, secondsLeft: nil,
      metricsJSON: nil, version: 4, subspace: nil, dataset: "ds_1", error: ("internal", "why"),
      createdAt: "2026-01-02T03:04:05Z", startedAt: nil, finishedAt: "2026-01-02T03:04:06.5Z",
      createdBy: "anonymous")
    var writer = JSONWriter()
    writer.fineTuningJob(job, on: .encoder)
    #expect(
      String(decoding: writer.bytes, as: UTF8.self) == """
        {"id":"job_1","object":"fine_tuning.job","created_at":1767323045,"finished_at":1767323046,\
        "status":"failed","model":"tickets@3","fine_tuned_model":"tickets@4","training_file":"ds_1",\
        "validation_file":null,"result_files":[],"organization_id":"anonymous",\
        "hyperparameters":{"n_epochs":2,"batch_size":32,"learning_rate_multiplier":2.5},\
        "method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2,"batch_size":32,\
        "learning_rate_multiplier":2.5}}},"seed":7,"trained_tokens":null,"estimated_finish":null,\
        "integrations":[],"metadata":null,"error":{"code":"internal","message":"why","param":null}}
        """)
  }

  @Test func eventsAreNewestFirstInPages() async throws {
    let api = handler()
    let first = try await api.send(.get, "/v1/fine_tuning/jobs/job_1/events?limit=2")
    #expect(
      first.text == """
        {"object":"list","data":[{"id":"job_1-3","object":"fine_tuning.job.event","created_at":1767323046,\
        "level":"info","message":"Step 1 of 6: training loss 0.5.","type":"metrics",\
        "data":{"step":1,"steps":6,"loss":0.5}},{"id":"job_1-2","object":"fine_tuning.job.event",\
        "created_at":1767323045,"level":"info","message":"The job is running.","type":"message",\
        "data":{"state":"running"}}],"first_id":"job_1-3","last_id":"job_1-2","has_more":true}
        """)
    let rest = try await api.send(.get, "/v1/fine_tuning/jobs/job_1/events?after=job_1-2")
    #expect(rest.json?["data"]?.array?.count == 1 && rest.json?["has_more"]?.bool == false)
    for after in ["job_2-1", "job_1", "job_1-", "job_1-x"] {
      for list in ["events", "checkpoints"] {
        let answer = try await api.send(.get, "/v1/fine_tuning/jobs/job_1/\(list)?after=\(after)")
        #expect(answer.pointers == ["after"], "\(after)")
      }
    }
  }

  @Test func checkpointsAreNewestFirstInPages() async throws {
    let one = try await handler().send(.get, "/v1/fine_tuning/jobs/job_1/checkpoints?limit=1")
    #expect(
      one.text == """
        {"object":"list","data":[{"id":"job_1-8","object":"fine_tuning.job.checkpoint","created_at":1767323047,\
        "fine_tuning_job_id":"job_1","fine_tuned_model_checkpoint":"job_1@8","step_number":8,\
        "metrics":{"step":8,"train_loss":0.25}}],"first_id":"job_1-8","last_id":"job_1-8","has_more":true}
        """)
    let rest = try await handler().send(.get, "/v1/fine_tuning/jobs/job_1/checkpoints?after=job_1-8")
    #expect(rest.json?["data"]?.array?.map { $0["step_number"]?.number?.integer } == [4])
  }
}
