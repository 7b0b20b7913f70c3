import ArgumentParser
import Engine
import Foundation
import Models
import Tensors

/// Prompt and decoded tokens a second of a real configuration with random weights, against transformers on torch and,
/// where its binaries are named, llama.cpp: the same prompts, precision and threads; rounds alternate.
struct DecodeBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode", abstract: "Decoding speed against transformers and llama.cpp.")

  @Option(help: "Configuration that make_decoder.py knows.") var shape = DecoderShape.smolLM
  @Option(help: "Folder of the base; made when absent.") var model: String?
  @Option(help: "Threads and lanes of each side.") var threads = 2
  @Option(help: "Shards of the executor; its own choice when absent.") var shards: Int?
  @Option(help: "Alternations.") var rounds = 5
  @Option(help: "Tokens of a prompt.") var promptTokens = 256
  @Option(help: "Tokens decoded by each stream.") var steps = 64
  @Option(help: "llama.cpp's llama-server.") var llamaServer: String?
  @Option(help: "llama.cpp's llama-bench.") var llamaBench: String?
  @Flag(help: "Write the result into the tree.") var record = false

  static let streams = [1, 8]

  func run() async throws {
    // Named, they must take part: a table without them would look as if they had.
    guard llamaServer == nil, llamaBench == nil else { throw BenchError("llama.cpp is not compared yet") }
    let result = try await measure()
    try result.write(record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() async throws -> DecodeResult {
    let python = try Places.python()
    let model = try Places.decoder(model, shape: shape, python: python)
    let checkpoint = try Checkpoint(directory: model)
    let lanes = ComputeLanes(count: threads)
    var result = DecodeResult(shape: shape, threads: threads, promptTokens: promptTokens, steps: steps)
    for (element, held) in [("bfloat16", PackedElement.bfloat16Pairs), ("float32", .float32)] {
      let decoder = try Decoder(checkpoint, as: held)
      let peer = try TorchDecoder(python: python, model: model, threads: threads, element: element)
      result.provenance.peers = peer.versions
      for streams in Self.streams {
        let prompts = DecodePrompts.random(
          streams, tokens: promptTokens, vocabulary: decoder.configuration.vocabularySize)
        let ours = EngineDecoder(decoder, lanes: lanes, streams: streams, shards: shards)
        // The first round warms up.
        _ = try peer.decode(prompts, steps: min(steps, 8))
        _ = try await ours.decode(prompts, steps: min(steps, 8))
        var measured = DecodeMeasurement()
        for _ in 0..<rounds {
          let mine = try await ours.decode(prompts, steps: steps)
          measured.add(ours: mine, peer: try peer.decode(prompts, steps: steps))
        }
        result.add("\(element), \(streams) streams", measured)
      }
    }
    say("llama.cpp: SKIPPED, its binaries are not named (--llama-server, --llama-bench)")
    return result
  }
}

extension DecoderShape: ExpressibleByArgument {}
