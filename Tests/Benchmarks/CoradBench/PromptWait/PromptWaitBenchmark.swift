import ArgumentParser
import Engine
import Foundation
import Models
import Tensors

/// How long running streams wait while a long prompt arrives, against their usual step in the same run. A virtual machine
/// is stopped now and then, for longer than any step: the time that the host gave to others is taken off a wait, and the
/// longest wait as it was is printed beside.
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
          + "(\(measured.ratio.least.text(2)) to \(measured.ratio.most.text(2))), with the host's pauses "
          + "\((measured.paused.most * 1e3).text(1)) ms, prompt \(measured.promptSeconds.median.text(1)) s")
    }
    try ResultFile.write(result, "prompt-wait", record: record)
    if let worst = result.cases.values.map(\.ratio.median).max(), worst > Self.limitRatio {
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
  ) async throws -> PromptWaitResult.Round {
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
    let gaps = AsyncStream.makeStream(of: (stream: Int, seconds: Double, stolen: Double).self)
    let readers = events.enumerated().map { index, stream in
      Task {
        var (last, lastStolen) = (clock.now, HostTime.stolen())
        for await _ in stream {
          let (now, stolen) = (clock.now, HostTime.stolen())
          gaps.continuation.yield((index, (now - last).seconds, Double(stolen - lastStolen) * HostTime.tick))
          (last, lastStolen) = (now, stolen)
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
      gaps.continuation.yield((-1, seconds, 0))
    }
    var (longest, paused) = (0.0, 0.0)
    while let gap = await iterator.next(), gap.stream >= 0 {
      longest = max(longest, gap.seconds - gap.stolen)
      paused = max(paused, gap.seconds)
    }
    await ends.value
    let seconds = await arrival.value
    executor.cancelAll()
    await executor.drain()
    return PromptWaitResult.Round(
      usual: usual.median, longest: longest, paused: paused, promptSeconds: seconds)
  }
}

private enum HostTime {
  /// Seconds.
  static let tick = 0.01
  /// Ticks that the host gave to others, of all processors (proc_stat(5), `steal`).
  static func stolen() -> Int {
    let text = (try? String(contentsOfFile: "/proc/stat", encoding: .utf8)) ?? ""
    return text.prefix { $0 != "\n" }.split(separator: " ").dropFirst(8).first.flatMap { Int($0) } ?? 0
  }
}

/// What was measured.
struct PromptWaitResult: Codable {
  /// Seconds.
  struct Round {
    let usual: Double
    let longest: Double
    /// The longest wait with the host's pauses in it.
    let paused: Double
    let promptSeconds: Double
  }

  struct Case: Codable {
    /// Seconds of a step, and of the longest one beside the prompt, a round each.
    var usual = Sample()
    var longest = Sample()
    var paused = Sample()
    var ratio = Sample()
    /// Seconds until the prompt's first token.
    var promptSeconds = Sample()

    mutating func add(_ round: Round) {
      usual.values.append(round.usual)
      longest.values.append(round.longest)
      paused.values.append(round.paused)
      ratio.values.append(round.longest / round.usual)
      promptSeconds.values.append(round.promptSeconds)
    }
  }

  var provenance = Provenance()
  let promptTokens: Int
  let threads: Int
  let element: String
  var cases: [String: Case] = [:]
}
