import Engine
import Foundation
import Models

/// Greedy decoding through the executor that the daemon has. Nothing of one round's prompts is kept for the next.
struct EngineDecoder: Sendable {
  private let executor: GenerationExecutor

  /// - Parameters:
  ///   - streams: that run at once.
  ///   - shards: of the executor; nil for its own choice.
  init(_ decoder: Decoder, lanes: ComputeLanes, streams: Int, shards: Int?, tasks: DecoderTasks? = nil) {
    var configuration = GenerationExecutor.Configuration()
    configuration.rows = max(streams, lanes.count)
    configuration.prefixBytes = 0
    configuration.shards = shards
    executor = GenerationExecutor(
      decoder: decoder, tokenizer: nil, lanes: lanes, primary: tasks?.subspace, configuration: configuration)
  }

  /// - Parameters:
  ///   - prompts: of one length, a stream each.
  ///   - steps: tokens of a stream after its first one.
  ///   - distinct: so many tasks, each of as many streams; 0 for the bare base.
  func decode(
    _ prompts: [[Int32]], steps: Int, tasks: DecoderTasks? = nil, distinct: Int = 0
  ) async throws -> DecodeTimes {
    let started = ContinuousClock.now
    let streams = try prompts.enumerated().map { index, prompt in
      let task = tasks == nil ? nil : index * distinct / prompts.count
      return try executor.submit(
        GenerationRequest(
          prompt: prompt, maxTokens: steps + 1, adapter: task.flatMap { tasks?.adapters[$0] },
          subspace: task.flatMap { _ in tasks?.subspace }, version: task.map { "task-\($0)" } ?? ""))
    }
    let times = await withTaskGroup(of: [ContinuousClock.Instant].self) { group in
      for stream in streams {
        group.addTask {
          var times: [ContinuousClock.Instant] = []
          for await event in stream {
            if case .token = event { times.append(.now) }
          }
          return times
        }
      }
      var times: [[ContinuousClock.Instant]] = []
      for await stream in group { times.append(stream) }
      return times
    }
    guard times.allSatisfy({ $0.count == steps + 1 }) else { throw BenchError("a stream ended early") }
    let middle = times.compactMap(\.first).max() ?? started
    let ended = times.compactMap(\.last).max() ?? started
    return DecodeTimes(
      promptSeconds: (middle - started).seconds, promptTokens: prompts.reduce(0) { $0 + $1.count },
      decodeSeconds: (ended - middle).seconds,
      decodeTokens: times.reduce(0) { $0 + $1.count { $0 > middle } })
  }

  /// How long a running stream waits for its next token, before a long prompt arrives and until that has its first token.
  /// - Parameter warm: tokens of the stream before the prompt comes.
  func arrival(of prompt: [Int32], running text: [Int32], warm: Int) async throws -> ArrivalWaits {
    let running = try executor.submit(GenerationRequest(prompt: text, maxTokens: 4_000))
    let (ready, signal) = AsyncStream.makeStream(of: Void.self)
    return try await withThrowingTaskGroup(of: [ContinuousClock.Instant].self) { group in
      group.addTask {
        var times: [ContinuousClock.Instant] = []
        for await event in running {
          guard case .token = event else { continue }
          times.append(.now)
          if times.count == warm { signal.finish() }
        }
        signal.finish()
        return times
      }
      for await _ in ready {}
      let began = ContinuousClock.now
      for await _ in try executor.submit(GenerationRequest(prompt: prompt, maxTokens: 1)) {}
      let ended = ContinuousClock.now
      // The stream that is let go is cancelled.
      group.cancelAll()
      let times = try await group.next() ?? []
      var waits = ArrivalWaits(promptSeconds: (ended - began).seconds)
      for (one, next) in zip(times, times.dropFirst()) {
        if next <= began { waits.before.append((next - one).seconds) }
        if next > began, one < ended { waits.during.append((next - one).seconds) }
      }
      return waits
    }
  }
}

/// Seconds between tokens of a running stream.
struct ArrivalWaits {
  let promptSeconds: Double
  var before: [Double] = []
  var during: [Double] = []
}
