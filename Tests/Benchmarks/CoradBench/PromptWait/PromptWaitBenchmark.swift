import ArgumentParser
import Engine
import Foundation
import Models
import Tensors

/// How long running streams wait while a long prompt arrives, against their usual step in the same run.
struct PromptWaitBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prompt-wait", abstract: "The longest wait of a stream while a long prompt arrives.")

  /// Issue 3, line 10.
  static let limitRatio = 4.0
  static let usualTokens = 40

  @Option(help: "Folder of a decoder with room for the prompt.") var model: String
  @Option(help: "Lanes.") var threads = 2
  @Option(help: "Tokens of the prompt.") var promptTokens = 4_000
  @Option(help: "Repetitions.") var rounds = 5
  @Option(help: "What the weights are held as: f32, bf16, int8 or int4.") var weights = "bf16"
  @Flag(help: "Write the result into the tree.") var record = false

  func run() async throws {
    guard let format = WeightFormat(rawValue: weights) else { throw BenchError("no weights are \(weights)") }
    let decoder = try Decoder(Checkpoint(directory: model), as: format.element)
    let lanes = ComputeLanes(count: threads)
    defer { lanes.stop() }
    var result = PromptWaitResult(
      promptTokens: promptTokens, threads: threads, element: decoder.element.rawValue)
    // One shard, so that streams and prompt share its steps.
    for (streams, shards) in [(1, 1), (4, 1), (8, 1), (1, threads), (8, threads)] {
      var measured = PromptWaitResult.Case()
      for _ in 0..<rounds {
        let executor = GenerationExecutor(
          decoder: decoder, tokenizer: nil, lanes: lanes, configuration: configuration(shards: shards))
        try await measured.add(waits(executor, decoder, streams: streams))
      }
      result.cases["\(streams) streams, \(shards) shards"] = measured
      say(
        "\(streams) streams, \(shards) shards: usual step \((measured.usual.median * 1e3).text(1)) ms, longest wait "
          + "\((measured.longest.median * 1e3).text(1)) ms, ratio \(measured.ratio.median.text(2)) "
          + "(\(measured.ratio.least.text(2)) to \(measured.ratio.most.text(2))), prompt "
          + "\(measured.promptSeconds.median.text(1)) s")
    }
    try ResultFile.write(result, "prompt-wait", record: record)
    // What the machine does beside only adds, and what the schedule does it does in every round.
    if let worst = result.cases.values.map(\.ratio.least).max(), worst > Self.limitRatio {
      throw BenchError(
        "a stream waits \(worst.text(2)) times its usual step; the limit is \(Self.limitRatio)")
    }
  }

  private func configuration(shards: Int) -> GenerationExecutor.Configuration {
    var configuration = GenerationExecutor.Configuration()
    configuration.cacheBytes = shards << 31
    configuration.prefixBytes = 0
    configuration.shards = shards
    return configuration
  }

  /// One round: streams alone, then with the prompt beside them until its first token.
  private func waits(
    _ executor: GenerationExecutor, _ decoder: Decoder, streams: Int
  ) async throws -> (usual: Double, longest: Double, prompt: Double) {
    var random = RandomSource(seed: 1)
    func prompt(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32(random.below(decoder.configuration.vocabularySize)) }
    }
    let room = decoder.configuration.positions
    let events = try (0..<streams).map { _ in
      try executor.submit(GenerationRequest(prompt: prompt(32), maxTokens: room - 32))
    }
    let long = prompt(promptTokens)
    let clock = ContinuousClock()
    let gaps = AsyncStream.makeStream(of: (stream: Int, seconds: Double).self)
    let readers = events.enumerated().map { index, stream in
      Task {
        var last = clock.now
        for await _ in stream {
          let now = clock.now
          gaps.continuation.yield((index, (now - last).seconds))
          last = now
        }
      }
    }
    defer { for reader in readers { reader.cancel() } }
    var seen = [Int](repeating: 0, count: streams)
    var usual = Sample()
    var iterator = gaps.stream.makeAsyncIterator()
    while seen.contains(where: { $0 < Self.usualTokens }), let gap = await iterator.next() {
      seen[gap.stream] += 1
      // Those that begin wait for the prompts of the others.
      if seen[gap.stream] > Self.usualTokens / 2 { usual.values.append(gap.seconds) }
    }
    let start = clock.now
    let answer = try executor.submit(GenerationRequest(prompt: long, maxTokens: 1))
    let arrival = Task {
      for await event in answer { if case .token = event { return (clock.now - start).seconds } }
      return Double.nan
    }
    let ends = Task {
      let seconds = await arrival.value
      gaps.continuation.yield((-1, seconds))
    }
    var longest = 0.0
    while let gap = await iterator.next(), gap.stream >= 0 { longest = max(longest, gap.seconds) }
    await ends.value
    let seconds = await arrival.value
    executor.cancelAll()
    await executor.drain()
    return (usual.median, longest, seconds)
  }
}

/// What was measured.
struct PromptWaitResult: Codable {
  struct Case: Codable {
    /// Seconds of a step, and of the longest one beside the prompt, a round each.
    var usual = Sample()
    var longest = Sample()
    var ratio = Sample()
    /// Seconds until the prompt's first token.
    var promptSeconds = Sample()

    mutating func add(_ round: (usual: Double, longest: Double, prompt: Double)) {
      usual.values.append(round.usual)
      longest.values.append(round.longest)
      ratio.values.append(round.longest / round.usual)
      promptSeconds.values.append(round.prompt)
    }
  }

  var provenance = Provenance()
  let promptTokens: Int
  let threads: Int
  let element: String
  var cases: [String: Case] = [:]
}
