import Adapters
import Engine
import Foundation
import Models
import Tensors

/// Greedy decoding straight through the model, streams shared out over the lanes: bootstrap until the executor is here.
struct LaneDecoder: Sendable {
  private let decoder: Decoder
  private let lanes: ComputeLanes
  private let count: Int
  private let cacheBytes: Int

  init(_ decoder: Decoder, lanes: Int, streams: Int, tokens: Int) {
    self.decoder = decoder
    self.lanes = ComputeLanes(count: lanes)
    count = lanes
    let probe = KVCache(decoder.configuration, limitBytes: 0)
    cacheBytes = probe.pageBytes * (tokens / probe.pageTokens + 1) * streams
  }

  func decode(
    _ prompts: [[Int32]], steps: Int, tasks: DecoderTasks? = nil, distinct: Int = 0
  ) async -> DecodeTimes {
    let share = (prompts.count + count - 1) / count
    // Streams of one task lie side by side.
    let streams = prompts.enumerated().map { index, prompt in
      (prompt: prompt, adapter: tasks.map { $0.adapters[index * distinct / prompts.count] })
    }
    let pieces = stride(from: 0, to: prompts.count, by: share).map {
      Array(streams[$0..<min($0 + share, prompts.count)])
    }
    let subspace = tasks?.subspace
    let (decoder, cacheBytes) = (decoder, cacheBytes)
    let started = ContinuousClock.now
    let ends = await lanes.map(.inference, pieces) { streams, arena in
      let cache = KVCache(decoder.configuration, limitBytes: cacheBytes)
      let sequences = streams.map { _ in cache.makeSequence() }
      func step(_ tokens: [[Int32]]) -> [[Int32]] {
        arena.scope {
          for (sequence, tokens) in zip(sequences, tokens) { _ = sequence.reserve(tokens.count) }
          var row = 0
          let groups = zip(streams, tokens).map { stream, tokens in
            defer { row += tokens.count }
            return RowGroup(
              rows: row..<row + tokens.count, adapter: stream.adapter,
              subspace: stream.adapter == nil ? nil : subspace)
          }
          let patch =
            subspace == nil ? nil : BatchPatch(sites: decoder.sites, groups: groups, primary: subspace)
          let hidden = decoder.forward(
            zip(sequences, tokens).map { DecoderInput(sequence: $0, tokens: $1) }, patch: patch, arena: arena)
          let last = arena.matrix(tokens.count, hidden.columns)
          var end = -1
          for (index, tokens) in tokens.enumerated() {
            end += tokens.count
            last.rows(index..<index + 1).copy(from: hidden.rows(end..<end + 1))
          }
          let scores = decoder.logits(last, arena: arena)
          return (0..<scores.rows).map { row in
            let values = UnsafeBufferPointer(start: scores.row(row), count: scores.columns)
            return [Int32(values.indices.max { values[$0] < values[$1] } ?? 0)]
          }
        }
      }
      var next = step(streams.map(\.prompt))
      let middle = ContinuousClock.now
      for _ in 0..<steps { next = step(next) }
      return (middle, ContinuousClock.now)
    }
    let middle = ends.map(\.0).max() ?? started
    let ended = ends.map(\.1).max() ?? started
    return DecodeTimes(
      promptSeconds: (middle - started).seconds, promptTokens: prompts.reduce(0) { $0 + $1.count },
      decodeSeconds: (ended - middle).seconds, decodeTokens: prompts.count * steps)
  }
}
