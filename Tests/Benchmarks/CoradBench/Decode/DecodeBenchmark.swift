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
  /// When llama.cpp's tokens are compared. Few steps: random weights soon repeat themselves.
  private static let (comparedPrompts, comparedTokens, comparedSteps) = (16, 16, 3)

  func run() async throws {
    let result = try await measure()
    try result.write(record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() async throws -> DecodeResult {
    let binaries = try LlamaBinaries(server: llamaServer, bench: llamaBench)
    let python = try Places.python()
    let model = try Places.decoder(model, shape: shape, python: python)
    let checkpoint = try Checkpoint(directory: model)
    let lanes = ComputeLanes(count: threads)
    var result = DecodeResult(shape: shape, threads: threads, promptTokens: promptTokens, steps: steps)
    for (element, held) in [("bfloat16", PackedElement.bfloat16Pairs), ("float32", .float32)] {
      let decoder = try Decoder(checkpoint, as: held)
      let peer = try TorchDecoder(python: python, model: model, threads: threads, element: element)
      result.provenance.peers.merge(peer.versions) { $1 }
      let llama = try binaries.map {
        try LlamaDecoder(
          $0, model: Places.gguf(model, element: element, python: python), threads: threads, element: element,
          streams: Self.streams.max() ?? 1, contextTokens: promptTokens + steps + 1)
      }
      defer { llama?.end() }
      result.provenance.peers["llama.cpp"] = llama?.version
      // Where activations are rounded, rounding makes some of the choices.
      if let llama, element == "float32" { try await compare(decoder, lanes, llama) }
      for streams in Self.streams {
        let prompts = DecodePrompts.random(
          streams, tokens: promptTokens, vocabulary: decoder.configuration.vocabularySize)
        let ours = EngineDecoder(decoder, lanes: lanes, streams: streams, shards: shards)
        // The first round warms up.
        _ = try peer.decode(prompts, steps: min(steps, 8))
        _ = try await ours.decode(prompts, steps: min(steps, 8))
        _ = try llama?.decode(prompts, steps: min(steps, 8))
        var (measured, llamaMeasured) = (DecodeMeasurement(), DecodeMeasurement())
        for _ in 0..<rounds {
          // In the middle it is either peer's neighbour.
          let torch = try peer.decode(prompts, steps: steps)
          let mine = try await ours.decode(prompts, steps: steps)
          measured.add(ours: mine, peer: torch)
          if let llama { llamaMeasured.add(ours: mine, peer: try llama.decode(prompts, steps: steps)) }
        }
        result.add(
          DecodeResult.name(element, streams: streams), measured, llama: llama == nil ? nil : llamaMeasured)
      }
    }
    result.sayGoal()
    return result
  }

  /// Whether llama.cpp computes the same model: a file that says it otherwise is no peer.
  private func compare(_ decoder: Decoder, _ lanes: ComputeLanes, _ llama: LlamaDecoder) async throws {
    let prompts = DecodePrompts.random(
      Self.comparedPrompts, tokens: Self.comparedTokens, vocabulary: decoder.configuration.vocabularySize)
    let ours = EngineDecoder(decoder, lanes: lanes, streams: 1, shards: shards)
    let theirs = try llama.greedy(prompts, count: Self.comparedSteps)
    var chosen: Set<Int32> = []
    for (prompt, theirs) in zip(prompts, theirs) {
      let mine = try await ours.greedy(prompt, count: Self.comparedSteps)
      guard mine == theirs else {
        throw BenchError("after \(prompt) corad goes on with \(mine) in float32, llama.cpp with \(theirs)")
      }
      chosen.formUnion(mine)
    }
    say("float32: after \(prompts.count) prompts \(chosen.count) different tokens, llama.cpp's are the same")
  }
}

extension DecoderShape: ExpressibleByArgument {}
