import Foundation
import Models
import Tensors
import Testing
import Tokenizers

@testable import Engine

/// Whatever runs beside a request, its tokens are those of the plain loop.
@Suite struct GenerationTests {
  /// Prompts of many lengths for the base and every task.
  private static func requests(
    _ fixture: EngineFixture, count: Int, sampling: (Int) throws -> SamplingSettings = { _ in .greedy }
  ) throws -> [GenerationRequest] {
    try (0..<count).map { index in
      fixture.request(
        fixture.prompt([1, 3, 17, 40, 90, 33][index % 6], seed: UInt64(index)),
        task: index % 17 == 16 ? nil : index % 17, maxTokens: [12, 1, 30, 7][index % 4],
        sampling: try sampling(index))
    }
  }

  @Test(arguments: PackedElement.allCases)
  func `many tasks in one step are as each alone in the plain loop`(_ element: PackedElement) async throws {
    let fixture = try EngineFixture.shared(element)
    let requests = try Self.requests(fixture, count: 34)
    let heard = try await withLanes { lanes in
      try await hear(fixture.executor(lanes) { ($0.shards, $0.rows) = (1, 20) }, requests)
    }
    var different: Set<[Int32]> = []
    for (index, (request, heard)) in zip(requests, heard).enumerated() {
      let expected = fixture.plain(request, count: request.maxTokens ?? 0)
      #expect(heard.ids == expected, "request \(index)")
      #expect(heard.end?.reason == .length)
      #expect(
        heard.end?.usage
          == GenerationUsage(
            promptTokens: request.prompt.count, reusedTokens: 0, completionTokens: expected.count))
      #expect(heard.text == fixture.tokenizer.decode(expected, skippingSpecial: false))
      different.insert(expected)
    }
    #expect(different.count > 20, "the texts do not tell the tasks apart")
  }

  @Test func `adapters change the text`() throws {
    let fixture = try EngineFixture.shared()
    let prompt = fixture.prompt(20, seed: 3)
    let texts = ([nil] + (0..<16).map { $0 }).map { task in
      fixture.plain(fixture.request(prompt, task: task), count: 12)
    }
    #expect(Set(texts).count == texts.count)
  }

  @Test func `the same seed alone and among others gives the same text`() async throws {
    let fixture = try EngineFixture.shared()
    let requests = try Self.requests(fixture, count: 20) { index in
      try SamplingSettings(
        temperature: 0.9, topK: index % 2 * 40, topP: 0.95, minP: 0.01, repetitionPenalty: 1.1,
        presencePenalty: 0.2, frequencyPenalty: 0.1, seed: UInt64(index / 2), topLogprobs: index % 3)
    }
    try await withLanes { lanes in
      let executor = fixture.executor(lanes)
      let together = try await hear(executor, requests)
      for (request, heard) in zip(requests, together) {
        let alone = try await hear(executor, [request])[0]
        #expect(alone == heard)
        #expect(heard.ids == fixture.plain(request, count: request.maxTokens ?? 0))
        #expect(heard.tokens.allSatisfy { $0.logprob != nil && $0.top.count == request.sampling.topLogprobs })
      }
      let other = try SamplingSettings(temperature: 0.9, seed: 7_777)
      let unlike = try await hear(
        executor, [fixture.request(requests[2].prompt, maxTokens: 30, sampling: other)])
      #expect(unlike[0].ids != together[2].ids)
    }
  }

  @Test(arguments: [(1, 16), (7, 16), (16, 32), (50, 48), (96, 32)])
  func `chunks and pages are no part of the bits`(_ chunk: Int, _ pageTokens: Int) async throws {
    let fixture = try EngineFixture.shared()
    let sampling = try SamplingSettings(temperature: 0.8, seed: 4, topLogprobs: 3)
    let requests = (0..<6).map { index in
      fixture.request(
        fixture.prompt(30 + 37 * index, seed: UInt64(index)), task: index, maxTokens: 10, sampling: sampling)
    }
    let expected = try await withLanes { try await hear(fixture.executor($0), requests) }
    let heard = try await withLanes(1) { lanes in
      try await hear(
        fixture.executor(lanes) {
          $0.chunkTokens = chunk
          $0.pageTokens = pageTokens
        }, requests)
    }
    // Log-probabilities too, so every score has the same bits.
    #expect(heard == expected)
  }

  @Test(arguments: PackedElement.allCases)
  func `which subspace rides in the base's products changes no bit`(_ element: PackedElement) async throws {
    let fixture = try EngineFixture.shared(element)
    let sampling = try SamplingSettings(seed: 6, topLogprobs: 2)
    let requests = (0..<17).map {
      fixture.request(
        fixture.prompt(10 + $0, seed: UInt64($0)), task: $0 == 16 ? nil : $0, maxTokens: 8, sampling: sampling
      )
    }
    try await withLanes { lanes in
      let expected = try await hear(fixture.executor(lanes), requests)
      let executor = fixture.executor(lanes, hasPrimary: false)
      #expect(try await hear(executor, requests) == expected)
      executor.setPrimary(fixture.subspace)
      #expect(try await hear(executor, requests) == expected)
    }
  }

  @Test func `requests join and leave a running batch`() async throws {
    let fixture = try EngineFixture.shared()
    try await withLanes { lanes in
      let executor = fixture.executor(lanes) { ($0.shards, $0.rows) = (1, 3) }
      let long = fixture.request(fixture.prompt(50, seed: 1), task: 2, maxTokens: 200)
      let stream = try executor.submit(long)
      var joined: [(GenerationRequest, Heard)] = []
      var heard: [Int32] = []
      for await event in stream {
        guard case .token(let token) = event else { continue }
        heard.append(token.id)
        if heard.count % 40 == 0 {
          let count = heard.count
          let others = (0..<4).map {
            fixture.request(fixture.prompt(count / 2 + $0, seed: UInt64(count + $0)), task: $0, maxTokens: 9)
          }
          joined += zip(others, try await hear(executor, others))
        }
      }
      #expect(heard == fixture.plain(long, count: 200))
      #expect(joined.count == 20)
      for (request, heard) in joined { #expect(heard.ids == fixture.plain(request, count: 9)) }
    }
  }

  // MARK: - Ends

  @Test func `an end token ends the text and is no part of it`() async throws {
    let fixture = try EngineFixture.shared()
    let prompt = fixture.prompt(20, seed: 9)
    let plain = fixture.plain(fixture.request(prompt), count: 12)
    let end = try #require(plain.indices.dropFirst(3).first { !plain[..<$0].contains(plain[$0]) })
    try await withLanes { lanes in
      let executor = fixture.executor(lanes)
      let heard = try await hear(executor, [fixture.request(prompt, endTokens: [plain[end]])])[0]
      #expect(heard.ids == Array(plain[..<end]))
      #expect(heard.end?.reason == .stop && heard.end?.stopString == nil)
      #expect(heard.end?.usage.completionTokens == end + 1)
    }
  }

  @Test func `a stop string across tokens ends the text before it`() async throws {
    let fixture = try EngineFixture.shared()
    let prompt = fixture.prompt(20, seed: 10)
    let plain = fixture.plain(fixture.request(prompt), count: 30)
    let text = fixture.tokenizer.decode(plain, skippingSpecial: false)
    // From the middle of one token to the middle of a later one.
    let scalars = Array(text.unicodeScalars)
    let stop = String(String.UnicodeScalarView(scalars[scalars.count / 2..<scalars.count / 2 + 7]))
    try await withLanes { lanes in
      let executor = fixture.executor(lanes)
      let heard = try await hear(
        executor, [fixture.request(prompt, maxTokens: 30, stopStrings: ["never there", stop])])[0]
      #expect(heard.end?.reason == .stop)
      let found = try #require(heard.end?.stopString)
      #expect(Array(found.utf8) == Array(stop.utf8))
      #expect(Array(text.utf8).starts(with: Array((heard.text + stop).utf8)))
      #expect(!heard.text.contains(stop) && heard.tokens.count < 30)
      // No piece held a part of it.
      #expect(heard.tokens.count == heard.end?.usage.completionTokens)
    }
  }

  // MARK: - Prefixes

  @Test func `a prefix is reused inside one version and principal alone, with the same bits`() async throws {
    let fixture = try EngineFixture.shared()
    let sampling = try SamplingSettings(temperature: 0.7, seed: 2, topLogprobs: 2)
    func request(_ tail: UInt64, task: Int?, principal: String) -> GenerationRequest {
      fixture.request(
        fixture.prompt(100, seed: 1) + fixture.prompt(9, seed: tail), task: task, sampling: sampling,
        principal: principal)
    }
    try await withLanes { lanes in
      let plain = fixture.executor(lanes)
      let executor = fixture.executor(lanes) {
        $0.shards = 1
        $0.pageTokens = 16
        $0.prefixBytes = 1 << 24
      }
      for (tail, task, principal, reused) in [
        (1, 0, "a", 0), (1, 0, "a", 96), (2, 0, "a", 96), (2, 1, "a", 0), (2, 0, "b", 0), (3, nil, "a", 0),
        (3, nil, "a", 96), (3, 1, "a", 96),
      ] as [(UInt64, Int?, String, Int)] {
        let asked = request(tail, task: task, principal: principal)
        let (heard, expected) = (try await hear(executor, [asked])[0], try await hear(plain, [asked])[0])
        #expect(heard.tokens == expected.tokens)
        #expect(heard.end?.usage.reusedTokens == reused, "\(tail), \(task ?? -1), \(principal)")
      }
      // A conversation goes on: the answer's pages are there too.
      let first = request(4, task: 5, principal: "a")
      let answer = try await hear(executor, [first])[0].ids
      let next = fixture.request(
        first.prompt + answer + fixture.prompt(5, seed: 8), task: 5, sampling: sampling, principal: "a")
      let heard = try await hear(executor, [next])[0]
      #expect(heard.end?.usage.reusedTokens == 112)
      let expected = try await hear(plain, [next])[0]
      #expect(heard.tokens == expected.tokens)
      #expect(executor.figures.pages == executor.figures.prefixPages)
      #expect(executor.figures.prefixPages > 0 && plain.figures.pages == 0)
    }
  }

  // MARK: - Pages

  @Test func `too few pages make the youngest wait and change no text`() async throws {
    let fixture = try EngineFixture.shared()
    let requests = (0..<12).map { index in
      fixture.request(fixture.prompt(20 + index, seed: UInt64(index)), task: index, maxTokens: 60)
    }
    for prefixPages in [0, 6] {
      try await withLanes { lanes in
        let executor = fixture.executor(lanes) {
          $0.shards = 1
          $0.pageTokens = 16
          $0.cacheBytes = fixture.bytes(pages: 14)
          $0.prefixBytes = fixture.bytes(pages: prefixPages)
        }
        let heard = try await hear(executor, requests)
        for (request, heard) in zip(requests, heard) {
          #expect(heard.ids == fixture.plain(request, count: 60))
        }
        let figures = executor.figures
        #expect(figures.preemptions > 0)
        #expect(figures.running == 0 && figures.waiting == 0 && figures.pages == figures.prefixPages)
        #expect(figures.prefixPages <= prefixPages)
        #expect(figures.residentBytes <= fixture.bytes(pages: 14))
      }
    }
  }

  // MARK: - Leaving

  @Test func `a stream that is let go frees its row and pages`() async throws {
    let fixture = try EngineFixture.shared()
    try await withLanes { lanes in
      let executor = fixture.executor(lanes)
      do {
        let stream = try executor.submit(fixture.request(fixture.prompt(30, seed: 1), maxTokens: 600))
        var iterator = stream.makeAsyncIterator()
        for _ in 0..<2 {
          guard case .token = await iterator.next() else {
            Issue.record("no token came")
            return
          }
        }
        #expect(executor.figures.pages > 0 && executor.figures.running == 1)
        // Never read at all.
        _ = try executor.submit(fixture.request(fixture.prompt(30, seed: 2), maxTokens: 600))
      }
      await executor.drain()
      let figures = executor.figures
      #expect(executor.open == 0 && figures.running == 0 && figures.waiting == 0 && figures.pages == 0)
      #expect(figures.generatedTokens < 1_200)
    }
  }

  /// 1,000 requests of which most leave at a random moment; survivors hear what they hear alone.
  @Test func `a storm of cancellations leaks nothing and disturbs nobody`() async throws {
    let fixture = try EngineFixture.shared()
    let prompts = (0..<8).map { fixture.prompt(5 + 11 * $0, seed: UInt64($0)) }
    func request(_ index: Int) throws -> GenerationRequest {
      fixture.request(
        prompts[index % 8], task: index % 5 == 4 ? nil : index % 5, maxTokens: 5 + index % 40,
        sampling: index % 2 == 0 ? .greedy : try SamplingSettings(seed: UInt64(index % 8)),
        principal: "p\(index % 3)")
    }
    try await withLanes { lanes in
      let executor = fixture.executor(lanes) {
        $0.rows = 12
        $0.openRequests = 2_000
        $0.pageTokens = 16
        $0.cacheBytes = fixture.bytes(pages: 80)
        $0.prefixBytes = fixture.bytes(pages: 20)
      }
      let survivors = try await withThrowingTaskGroup(of: (Int, Heard)?.self) { group in
        var random = RandomSource(seed: 12)
        for index in 0..<1_000 {
          let survives = index % 5 == 0
          let leaves = random.below(4)
          let stream = try executor.submit(try request(index))
          group.addTask {
            if survives { return (index, await Heard(stream)) }
            if leaves == 0 { return nil }
            if leaves == 1 {
              let reader = Task { await Heard(stream) }
              try? await Task.sleep(for: .microseconds(index % 100 * 50))
              reader.cancel()
              _ = await reader.value
              return nil
            }
            var left = leaves
            for await _ in stream {
              left -= 1
              if left == 0 { break }
            }
            return nil
          }
        }
        var survivors: [(Int, Heard)] = []
        for try await survivor in group { if let survivor { survivors.append(survivor) } }
        return survivors
      }
      #expect(survivors.count == 200)
      for (index, heard) in survivors {
        let asked = try request(index)
        #expect(heard.ids == fixture.plain(asked, count: asked.maxTokens ?? 0), "request \(index)")
        #expect(heard.end?.reason == .length)
      }
      await executor.drain()
      let figures = executor.figures
      #expect(executor.open == 0 && figures.running == 0 && figures.waiting == 0)
      #expect(figures.pages == figures.prefixPages)
    }
  }

  @Test func `draining waits for the last and refuses the next; cancelling all ends them`() async throws {
    let fixture = try EngineFixture.shared()
    try await withLanes { lanes in
      let executor = fixture.executor(lanes)
      let streams = try (0..<6).map {
        try executor.submit(fixture.request(fixture.prompt(10, seed: UInt64($0)), maxTokens: 500))
      }
      executor.cancelAll()
      await executor.drain()
      for stream in streams {
        let heard = await Heard(stream)
        #expect(heard.end?.reason == .cancelled)
      }
      #expect(throws: GenerationError.draining) { try executor.submit(fixture.request([1])) }
      #expect(executor.figures.pages == 0)
    }
  }

  // MARK: - Refusals

  @Test func `what cannot run is refused with its numbers`() async throws {
    let fixture = try EngineFixture.shared()
    let vocabulary = fixture.tokenizer.vocabularySize
    try await withLanes(1) { lanes in
      let executor = fixture.executor(lanes) {
        $0.openRequests = 2
        $0.pageTokens = 16
        $0.cacheBytes = fixture.bytes(pages: 10)
      }
      func refuses(_ error: GenerationError, _ request: GenerationRequest) {
        #expect(throws: error) { try executor.submit(request) }
      }
      refuses(.emptyPrompt, fixture.request([]))
      refuses(
        .unknownToken(id: Int32(vocabulary), vocabulary: vocabulary), fixture.request([Int32(vocabulary)]))
      refuses(.unknownToken(id: -1, vocabulary: vocabulary), fixture.request([-1]))
      let bias = try SamplingSettings(bias: [Int32(vocabulary): 1])
      refuses(
        .unknownToken(id: Int32(vocabulary), vocabulary: vocabulary), fixture.request([1], sampling: bias))
      refuses(.noTokens(maxTokens: 0), fixture.request([1], maxTokens: 0))
      refuses(
        .contextExceeded(promptTokens: 640, maxTokens: 1, limit: 640),
        fixture.request(fixture.prompt(640, seed: 1), maxTokens: nil))
      refuses(
        .contextExceeded(promptTokens: 1, maxTokens: .max, limit: 640), fixture.request([1], maxTokens: .max))
      refuses(
        .cacheExceeded(promptTokens: 100, maxTokens: 61, limit: 160),
        fixture.request(fixture.prompt(100, seed: 1), maxTokens: 61))
      let held = try (0..<2).map { _ in
        try executor.submit(fixture.request(fixture.prompt(100, seed: 1), maxTokens: 60))
      }
      refuses(.overloaded(open: 2, limit: 2), fixture.request([1]))
      for stream in held {
        let heard = await Heard(stream)
        #expect(heard.tokens.count == 60)
      }
      let bare = GenerationExecutor(decoder: fixture.decoder, tokenizer: nil, lanes: lanes)
      #expect(throws: GenerationError.noTokenizer) {
        try bare.submit(fixture.request([1], stopStrings: ["x"]))
      }
      // All the room that there is.
      let rest = try await hear(executor, [fixture.request(fixture.prompt(150, seed: 1), maxTokens: nil)])[0]
      #expect(rest.tokens.count == 10 && rest.end?.reason == .length)
    }
  }
}
