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
    return DecodeTimes(started: started, times: times, promptTokens: prompts.reduce(0) { $0 + $1.count })
  }

  /// So many tokens after a prompt, the most probable ones.
  func greedy(_ prompt: [Int32], count: Int) async throws -> [Int32] {
    var tokens: [Int32] = []
    for await event in try executor.submit(GenerationRequest(prompt: prompt, maxTokens: count)) {
      if case .token(let token) = event { tokens.append(token.id) }
    }
    return tokens
  }
}
