import Adapters
import Foundation
import Models
import TestSupport
import Testing
import Tokenizers
import Training

@testable import Serving

/// Texts that a decoder base writes.
@Suite(.serialized) struct WritingTests {
  private static let template = """
    {%- for message in messages -%}
    {%- if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif -%}
    {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endfor -%}
    {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
    """

  /// A node on a base that never ends a text by itself.
  private static func withWriter<R: Sendable>(
    positions: Int = 256, files: [String: String] = [:],
    adjust: @Sendable (inout ServingConfiguration) -> Void = { _ in },
    _ body: @Sendable (Node) async throws -> R
  ) async throws -> R {
    let files = ["generation_config.json": #"{"eos_token_id": [100000]}"#, "chat_template.jinja": template]
      .merging(files) { $1 }
    return try await DecoderNodeTests.withDecoder(positions: positions, files: files, adjust: adjust, body)
  }

  private struct Answer: Equatable, Sendable {
    var text = ""
    var tokens: [WrittenToken] = []
    var reason: FinishReason?
    var usage = WritingUsage(promptTokens: 0, writtenTokens: 0)

    var ids: [Int32] { tokens.map(\.chosen.id) }
  }

  private static func request(
    _ prompt: WritingPrompt, task: String = "base", _ change: (inout WritingOptions) -> Void = { _ in }
  ) -> WritingRequest {
    var options = WritingOptions()
    options.temperature = 0
    options.maxTokens = 12
    options.logProbabilities = 0
    change(&options)
    return WritingRequest(
      task: task, prompt: prompt, options: options, pointer: "/prompt", taskPointer: "/model",
      optionsPointer: "")
  }

  private static func begin(
    _ node: Node, _ request: WritingRequest, timeout: Int? = nil, by principal: Principal = .anonymous
  ) async throws -> Writing {
    try await node.write(request, timeoutMilliseconds: timeout, principal: principal)
  }

  private static func read(_ writing: Writing) async throws -> Answer {
    var answer = Answer()
    while true {
      switch try await writing.pieces.next(waitMilliseconds: 10_000) {
      case .text(let text, let tokens):
        answer.text += text
        answer.tokens += tokens
      case .nothing: continue
      case .end(let reason, let usage):
        answer.reason = reason
        answer.usage = usage
        return answer
      }
    }
  }

  private static func answer(
    _ node: Node, _ request: WritingRequest, by principal: Principal = .anonymous
  ) async throws -> Answer {
    try await read(try await begin(node, request, by: principal))
  }

  private static func refusal(_ body: () async throws -> Void) async -> String {
    do {
      try await body()
      return "taken"
    } catch ServingError.validation(let fields) {
      return fields.map { "\($0.pointer) \($0.detail)" }.joined(separator: "; ")
    } catch {
      return "\(error)"
    }
  }

  /// Waits until nothing is written and no page is held but those kept for prompts to come.
  private static func isIdle(_ node: Node) async throws -> Bool {
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      let figures = await node.metrics().writing
      if let figures, figures.running + figures.waiting == 0, figures.pages == figures.prefixPages {
        return true
      }
      try await Task.sleep(for: .milliseconds(5))
    }
    return false
  }

  /// Waits until so many texts have run out of time: they are counted after their rows are free.
  private static func hasExpired(_ node: Node, _ count: Int) async throws -> Bool {
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      if await node.metrics().writing?.expired == count { return true }
      try await Task.sleep(for: .milliseconds(5))
    }
    return false
  }

  /// So many tokens that it does not end while a test looks at it; for a base of 8,192 positions.
  private static let long = request(.text("a long story")) {
    $0.maxTokens = 8_000
    $0.logProbabilities = nil
  }

  private static let words =
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "

  @Test func aTextIsContinued() async throws {
    try await Self.withWriter { node in
      let writes = await (node.writes("base"), node.writes("none"))
      #expect(writes == (true, false))
      let prompt = Self.words + Self.words
      let ids = node.tokenizer.encode(prompt, limit: nil).ids
      #expect(ids.count > 40)
      let first = try await Self.answer(node, Self.request(.text(prompt)))
      #expect(first.ids.count == 12 && first.reason == .length)
      #expect(first.usage == WritingUsage(promptTokens: ids.count, cachedTokens: 0, writtenTokens: 12))
      #expect(Array(first.text.utf8) == Array(node.tokenizer.decode(first.ids).utf8))
      // Its own pages are used again, and nobody else's.
      let again = try await Self.answer(node, Self.request(.text(prompt)))
      #expect(again.usage.cachedTokens == 32 && again.text == first.text && again.tokens == first.tokens)
      let other = try await Self.answer(node, Self.request(.text(prompt)), by: Principal(name: "other"))
      #expect(other.usage.cachedTokens == 0 && other.tokens == first.tokens)
      let given = try await Self.answer(node, Self.request(.tokens(ids)) { $0.logProbabilities = nil })
      #expect(given.text == first.text && given.tokens.isEmpty)
      // What is left out fills the context.
      let whole = try await Self.answer(node, Self.request(.tokens(ids)) { $0.maxTokens = nil })
      #expect(whole.ids.count == 256 - ids.count && whole.ids.starts(with: first.ids))
      let metrics = await node.metrics()
      let figures = try #require(metrics.writing)
      #expect(figures.writtenTokens == 4 * 12 + whole.ids.count && figures.reusedTokens > 0)
      #expect(figures.running == 0 && figures.residentBytes > 0 && metrics.requestsRunning == 0)
    }
  }

  @Test func aConversationGoesThroughTheTemplate() async throws {
    try await Self.withWriter { node in
      let conversation = Conversation(
        messagesJSON: #"[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi"}]"#,
        toolsJSON: nil)
      let text =
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
      let ids = node.tokenizer.encode(text, limit: nil, addingSpecials: false).ids
      #expect(ids.count { $0 == 1 } == 3)
      let answer = try await Self.answer(node, Self.request(.conversation(conversation)))
      #expect(answer.usage.promptTokens == ids.count)
      let given = try await Self.answer(node, Self.request(.tokens(ids)))
      #expect(answer.tokens == given.tokens)

      let tool = Conversation(messagesJSON: #"[{"role":"tool","content":"a"}]"#, toolsJSON: nil)
      let refused = await Self.refusal { _ = try await Self.begin(node, Self.request(.conversation(tool))) }
      #expect(refused == #"templateFailed(reason: "no tools here", line: 2)"#)
      let deep = String(repeating: "[", count: 70) + String(repeating: "]", count: 70)
      let nested = Conversation(messagesJSON: #"[{"role":"user","content":\#(deep)}]"#, toolsJSON: nil)
      let tooDeep = await Self.refusal {
        _ = try await Self.begin(node, Self.request(.conversation(nested)))
      }
      #expect(tooDeep == "/prompt is nested too deeply")
    }
    let conversation = WritingPrompt.conversation(
      Conversation(messagesJSON: #"[{"role":"user","content":"Hi"}]"#, toolsJSON: nil))
    // A template that cannot be read, that does not end in its steps, and none.
    for (template, expected) in [
      ("a\n{% import 'x' %}", "templateFailed(reason: "),
      (
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "templateFailed(reason: "
      ),
    ] {
      try await Self.withWriter(files: ["chat_template.jinja": template]) { node in
        let refused = await Self.refusal { _ = try await Self.begin(node, Self.request(conversation)) }
        #expect(refused.hasPrefix(expected), "\(refused)")
        let answer = try await Self.answer(node, Self.request(.text("a")))
        #expect(answer.ids.count == 12)
      }
    }
    try await DecoderNodeTests.withDecoder { node in
      let refused = await Self.refusal { _ = try await Self.begin(node, Self.request(conversation)) }
      #expect(refused == "/prompt needs a chat template, and the base has none")
    }
  }

  @Test func endTokensAndStopTextsEndATextBeforeThem() async throws {
    let plain = try await Self.withWriter { node in
      let plain = try await Self.answer(node, Self.request(.text("a story")) { $0.maxTokens = 40 })
      // From the middle of one token to the middle of a later one.
      let scalars = Array(plain.text.unicodeScalars)
      let stop = String(String.UnicodeScalarView(scalars[scalars.count / 2..<scalars.count / 2 + 5]))
      let stopped = try await Self.answer(
        node,
        Self.request(.text("a story")) {
          $0.maxTokens = 40
          $0.stop = ["never there", stop]
        })
      #expect(stopped.reason == .stop && !stopped.text.contains(stop))
      #expect(plain.text.utf8.starts(with: (stopped.text + stop).utf8))
      #expect(stopped.usage.writtenTokens < 40)
      return plain
    }
    let place = try #require(
      plain.ids.indices.dropFirst(3).first { !plain.ids[..<$0].contains(plain.ids[$0]) })
    let file = #"{"eos_token_id": [2046, \#(plain.ids[place])]}"#
    try await Self.withWriter(files: ["generation_config.json": file]) { node in
      let ended = try await Self.answer(node, Self.request(.text("a story")) { $0.maxTokens = 40 })
      #expect(ended.reason == .stop && ended.ids == Array(plain.ids[..<place]))
      #expect(ended.usage.writtenTokens == place + 1)
    }
  }

  @Test func aSeedGivesTheSameTextAndSettingsAreTheExecutors() async throws {
    try await Self.withWriter { node in
      func text(_ change: (inout WritingOptions) -> Void) async throws -> [Int32] {
        try await Self.answer(
          node,
          Self.request(.text("a story")) {
            $0.temperature = 1
            $0.maxTokens = 24
            change(&$0)
          }
        ).ids
      }
      let one = try await text { $0.seed = 1 }
      let same = try await text { $0.seed = 1 }
      let other = try await text { $0.seed = 2 }
      #expect(one == same && one != other)
      let (drawn, drawnAgain) = (try await text { _ in }, try await text { _ in })
      #expect(drawn != drawnAgain)
      // Each leaves the most probable token alone, as temperature 0 does.
      let greedy = try await text { $0.temperature = 0 }
      let best = try await text { $0.topK = 1 }
      let nucleus = try await text { $0.topP = 0 }
      let likely = try await text { $0.minP = 1 }
      #expect(greedy == best && greedy == nucleus && greedy == likely)
      let biased = try await text { $0.logitBias = [77: 100] }
      #expect(Set(biased) == [77])
      let penalised = try await text {
        $0.temperature = 0
        $0.logitBias = [77: 10]
        $0.frequencyPenalty = 2
        $0.presencePenalty = 2
        $0.repetitionPenalty = 1.5
      }
      let free = try await text { ($0.temperature, $0.logitBias) = (0, [77: 10]) }
      #expect(penalised != free)
    }
  }

  /// What is left out has the API's defaults, whatever the folder asks for.
  @Test func aFoldersSamplingIsNotTaken() async throws {
    let file =
      #"{"eos_token_id": [100000], "do_sample": false, "temperature": 0.01, "top_k": 1, "top_p": 0.01}"#
    try await Self.withWriter(files: ["generation_config.json": file]) { node in
      var texts: Set<[Int32]> = []
      for _ in 0..<3 {
        let drawn = Self.request(.text("a story")) {
          ($0.temperature, $0.maxTokens) = (WritingOptions().temperature, 24)
        }
        texts.insert(try await Self.answer(node, drawn).ids)
      }
      #expect(texts.count == 3)
    }
  }

  @Test func probabilitiesComeWithTheTokensOwnBytes() async throws {
    try await Self.withWriter { node in
      let answer = try await Self.answer(
        node,
        Self.request(.text("naïve ☃")) {
          $0.maxTokens = 40
          $0.temperature = 1
          $0.seed = 3
          $0.logProbabilities = 3
        })
      #expect(answer.tokens.count == 40)
      let bytes = answer.tokens.filter { !node.tokenizer.isSpecial($0.chosen.id) }.flatMap(\.chosen.bytes)
      #expect(String(decoding: bytes, as: UTF8.self) == answer.text)
      for token in answer.tokens {
        let best = token.best.map(\.logProbability)
        #expect(best.count == 3 && best == best.sorted(by: >) && best[0] <= 0)
        #expect(token.chosen.logProbability <= best[0] && token.chosen.logProbability.isFinite)
        if let same = token.best.first(where: { $0.id == token.chosen.id }) { #expect(same == token.chosen) }
      }
      // Part of a character is its own byte.
      let snow = node.tokenizer.encode("☃", limit: nil).ids
      #expect(snow.compactMap { node.tokenizer.textBytes(of: $0) }.flatMap(\.self) == Array("☃".utf8))
    }
  }

  @Test func whatCannotBeWrittenIsRefusedByName() async throws {
    try await Self.withWriter { node in
      func refused(
        _ prompt: WritingPrompt = .text("a"), task: String = "base",
        _ change: (inout WritingOptions) -> Void = { _ in }
      ) async -> String {
        await Self.refusal { _ = try await Self.begin(node, Self.request(prompt, task: task, change)) }
      }
      let learnt = try await DecoderNodeTests.learn(node, .classification)
      #expect(learnt.state == .succeeded)
      #expect(
        await refused(task: "classification-cora") == "/model is of kind classification, which does not write"
      )
      #expect(await node.writes("classification-cora") == false)
      #expect(await refused(task: "none").hasPrefix("notFound(Serving.ServingError.Resource.task"))
      #expect(await refused { $0.version = 1 }.hasPrefix("notFound(Serving.ServingError.Resource.version"))
      #expect(await refused(.tokens([5, 2_048])) == "/prompt/1 is no token of the base")
      #expect(await refused { $0.logitBias = [9_999: 1] } == "/logit_bias/9999 is no token of the base")
      #expect(await refused { $0.temperature = 0.005 } == "/temperature is out of range")
      let full = WritingPrompt.tokens(Array(repeating: 5, count: 256))
      #expect(await refused(full) == #"textTooLong(pointer: "/prompt", tokens: 256, limit: 255)"#)
      let most = WritingPrompt.tokens(Array(repeating: 5, count: 250))
      #expect(await refused(most) == "/max_tokens is 12, and the prompt has 250 of 256 tokens")
      #expect(try await Self.answer(node, Self.request(most) { $0.maxTokens = 6 }).ids.count == 6)
      #expect(try await Self.isIdle(node))
    }
    // An encoder does not write; what is not there is not found before that.
    try await withNode { node in
      let encoder = await Self.refusal { _ = try await Self.begin(node, Self.request(.text("a"))) }
      #expect(encoder.hasPrefix("notImplemented("))
      let missing = await Self.refusal {
        _ = try await Self.begin(node, Self.request(.text("a"), task: "none"))
      }
      #expect(missing.hasPrefix("notFound("))
      let writes = await node.writes("base")
      #expect(!writes)
    }
  }

  @Test func anAnswerThatIsGivenUpLeavesNothing() async throws {
    try await Self.withWriter(positions: 8_192) { node in
      let neighbour = try await Self.answer(node, Self.request(.text("a story")))
      // Told, cancelled with its task, and let go.
      let told = try await Self.begin(node, Self.long)
      _ = try await told.pieces.next(waitMilliseconds: 10_000)
      async let beside = Self.answer(node, Self.request(.text("a story")))
      told.pieces.cancel()
      let besides = try await beside
      #expect(besides.tokens == neighbour.tokens)
      let after = await Self.refusal { while true { _ = try await told.pieces.next(waitMilliseconds: 100) } }
      #expect(after == "cancelled")
      #expect(try await Self.isIdle(node))

      let task = Task { try await Self.read(try await Self.begin(node, Self.long)) }
      let started = await node.metrics().writing?.writtenTokens ?? 0
      while await node.metrics().writing?.writtenTokens ?? 0 < started + 2 { await Task.yield() }
      task.cancel()
      await #expect(throws: ServingError.self) { try await task.value }
      #expect(try await Self.isIdle(node))

      var kept: Writing? = try await Self.begin(node, Self.long)
      #expect(kept?.task == "base" && kept?.version == nil)
      kept = nil
      #expect(try await Self.isIdle(node))
      let written = await node.metrics().writing?.writtenTokens ?? .max
      #expect(written < 8_000)
    }
  }

  @Test func aDeadlineEndsATextAndItsRow() async throws {
    try await Self.withWriter(positions: 8_192) { node in
      let late = await Self.refusal {
        _ = try await Self.read(try await Self.begin(node, Self.long, timeout: 50))
      }
      #expect(late == "deadlineExceeded(milliseconds: 50)")
      #expect(try await Self.isIdle(node))
      #expect(try await Self.hasExpired(node, 1))
      // A shorter wait says nothing and goes on.
      let writing = try await Self.begin(node, Self.request(.text("a story")) { $0.maxTokens = 200 })
      var pauses = 0
      loop: while true {
        switch try await writing.pieces.next(waitMilliseconds: 0) {
        case .nothing:
          pauses += 1
          await Task.yield()
        case .end: break loop
        case .text: continue
        }
      }
      #expect(pauses > 0)
    }
    try await Self.withWriter(positions: 8_192, adjust: { $0.writingTimeoutMilliseconds = 20 }) { node in
      // Nobody pulls: the lane itself sees that it is too late.
      let writing = try await Self.begin(node, Self.long, timeout: 60_000)
      #expect(try await Self.isIdle(node))
      #expect(try await Self.hasExpired(node, 1))
      let late = await Self.refusal { _ = try await Self.read(writing) }
      #expect(late == "deadlineExceeded(milliseconds: 20)")
    }
  }

  @Test func asManyAsMayBeOpenAreTaken() async throws {
    try await Self.withWriter(positions: 8_192, adjust: { $0.openWritings = 2 }) { node in
      let first = try await Self.begin(node, Self.long)
      let second = try await Self.begin(node, Self.long)
      do {
        _ = try await Self.begin(node, Self.request(.text("a")))
        Issue.record("a third was taken")
      } catch ServingError.overloaded(let depth, let limit, let retryAfterSeconds) {
        #expect(depth == 2 && limit == 2 && (1...60).contains(retryAfterSeconds))
      }
      #expect(await node.metrics().writing?.refused == 1)
      second.pieces.cancel()
      first.pieces.cancel()
      #expect(try await Self.isIdle(node))
      #expect(try await Self.answer(node, Self.request(.text("a"))).ids.count == 12)
    }
  }

  @Test func tasksThatWriteAndThatWaitAreNamed() async throws {
    // 512 bytes a token: one of the prompts fits on the one lane.
    try await Self.withWriter(
      positions: 8_192, adjust: { ($0.keyValueCacheBytes, $0.lanes) = (4_096 * 512, 1) }
    ) { node in
      func named(running: [String], waiting: [String], requests: Int) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < end {
          let metrics = await node.metrics()
          if metrics.tasksRunning == running, metrics.tasksWaiting == waiting,
            metrics.requestsRunning == requests
          {
            return true
          }
          try await Task.sleep(for: .milliseconds(1))
        }
        return false
      }
      let learnt = try await DecoderNodeTests.learn(node, .generation, task: "writer")
      #expect(learnt.state == .succeeded)
      func begin(_ token: Int32, _ task: String) async throws -> Writing {
        try await Self.begin(
          node,
          Self.request(.tokens(Array(repeating: token, count: 2_100)), task: task) { $0.maxTokens = 1_900 })
      }
      let first = try await begin(5, "base")
      let second = try await begin(6, "writer")
      #expect(try await named(running: [], waiting: ["writer"], requests: 1))
      first.pieces.cancel()
      #expect(try await named(running: ["writer"], waiting: [], requests: 1))
      second.pieces.cancel()
      #expect(try await Self.isIdle(node))
      #expect(try await named(running: [], waiting: [], requests: 0))
    }
  }

  @Test func aDrainLetsTextsEndAndTakesNone() async throws {
    try await Self.withWriter(positions: 8_192) { node in
      let writing = try await Self.begin(
        node, Self.request(.text("a story")) { $0.maxTokens = 2_000 })
      node.beginDrain()
      let refused = await Self.refusal { _ = try await Self.begin(node, Self.request(.text("a"))) }
      #expect(refused == "draining")
      #expect(try await Self.read(writing).usage.writtenTokens == 2_000)
    }
  }

  @Test func theCacheOfKeysAndValuesHasItsBound() async throws {
    let none = await Self.refusal {
      try await Self.withWriter(adjust: { $0.keyValueCacheBytes = 1_000 }) { _ in }
    }
    #expect(none.hasPrefix("kv_cache_bytes is 1000"), "\(none)")
    // Two layers, keys and values of two heads of 16: 512 bytes a token; 64 tokens on the one lane.
    try await Self.withWriter(adjust: { ($0.keyValueCacheBytes, $0.lanes) = (64 * 512, 1) }) { node in
      let prompt = WritingPrompt.tokens(Array(repeating: 5, count: 64))
      let refused = await Self.refusal { _ = try await Self.begin(node, Self.request(prompt)) }
      #expect(refused == #"textTooLong(pointer: "/prompt", tokens: 64, limit: 63)"#)
      // More than fits together is written one after the other.
      let requests = (0..<6).map { Self.request(.tokens(Array(repeating: 5 + $0, count: 40))) }
      var writings: [Writing] = []
      for request in requests { writings.append(try await Self.begin(node, request)) }
      var together: [[Int32]] = []
      for writing in writings { together.append(try await Self.read(writing).ids) }
      for (request, ids) in zip(requests, together) {
        #expect(try await Self.answer(node, request).ids == ids)
      }
    }
  }

  /// A completion of one of two kinds: which one, only the task knows.
  @Test func aTaskWritesWhatItLearnt() async throws {
    try await Self.withWriter(files: ["generation_config.json": #"{"eos_token_id": [0]}"#]) { node in
      let job = try await DecoderNodeTests.learn(node, .generation, task: "writer") {
        $0.epochs = 60
        $0.learningRate = 1e-2
      }
      #expect(job.state == .succeeded, "\(job.error?.detail ?? "")")
      let prompts = DecoderNodeTests.rows(.generation).prefix(6).compactMap { row -> (String, String)? in
        guard case .completion(let prompt, let completion, _) = row else { return nil }
        return (prompt, completion)
      }
      #expect(prompts.count == 6)
      var alone: [Answer] = []
      for (prompt, completion) in prompts {
        let answer = try await Self.answer(node, Self.request(.text(prompt), task: "writer"))
        #expect(answer.text == completion && answer.reason == .stop, "\(prompt): \(answer.text)")
        alone.append(answer)
        let bare = try await Self.answer(node, Self.request(.text(prompt)))
        #expect(bare.text != completion)
      }
      // Rows of the task and of the bare base in one batch: the same texts, and the version that gave them.
      var writings: [Writing] = []
      for (prompt, _) in prompts {
        writings.append(try await Self.begin(node, Self.request(.text(prompt), task: "writer")))
        writings.append(try await Self.begin(node, Self.request(.text(prompt))))
      }
      for (place, writing) in writings.enumerated() {
        #expect(writing.version == (place % 2 == 0 ? 1 : nil))
        let answer = try await Self.read(writing)
        if place % 2 == 0 { #expect(answer.ids == alone[place / 2].ids) }
      }
    }
  }
}
