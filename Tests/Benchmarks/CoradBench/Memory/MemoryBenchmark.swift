import Adapters
import ArgumentParser
import Foundation
import Models
import Tensors

/// What a base in bfloat16 takes beyond its weights, B and the cache; and the peak of fine-tuning it.
struct MemoryBenchmark: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "memory", abstract: "Resident bytes of a decoder that serves, and of one that is fine-tuned."
  )

  private static let streams = 8
  private static let streamTokens = 256
  /// Columns of the default subspace.
  static let columns = 64

  @Option(help: "Configuration that make_decoder.py knows.") var shape = DecoderShape.smolLM
  @Option(help: "Folder of the base; made when absent.") var model: String?
  @Flag(help: "Write the result into the tree.") var record = false
  @Flag(help: .hidden) var fineTune = false

  func run() async throws {
    if fineTune {
      guard let model else { throw BenchError("--fine-tune takes --model") }
      return say("\(try await FineTuning(model: model).peakBytes())")
    }
    let result = try measure()
    try ResultFile.write(result, "memory", record: record)
    if let miss = result.misses.first { throw BenchError(miss) }
  }

  func measure() throws -> MemoryResult {
    let python = try Places.python()
    let model = try Places.decoder(model, shape: shape, python: python)
    let before = try ResidentMemory.now()
    let serving = try Serving(model: model)
    let after = try ResidentMemory.now()
    // A peak is a process's, so it has one of its own.
    let peak = try Places.output(Places.executable, ["memory", "--fine-tune", "--model", model])
    guard let fineTuningBytes = Int(peak) else { throw BenchError("the peak of fine-tuning is \(peak)") }
    let result = MemoryResult(
      shape: shape, weightBytes: serving.decoder.residentBytes, subspaceBytes: serving.subspace.bytes,
      cacheBytes: serving.cache.residentBytes, servingBytes: after.resident - before.resident,
      fineTuningBytes: fineTuningBytes)
    withExtendedLifetime(serving) {}
    say(
      "serving: \(result.servingBytes) resident bytes more than without a base; weights \(result.weightBytes), B "
        + "\(result.subspaceBytes), cache \(result.cacheBytes): ratio \(result.servingRatio.text(3))")
    say(
      "fine-tuning at batch \(FineTuning.sequences) x \(FineTuning.tokens): \(result.fineTuningBytes) resident bytes at "
        + "most, the process's own included")
    return result
  }

  /// A base with a subspace at all sites and streams in the middle of their texts.
  private struct Serving {
    let decoder: Decoder
    let subspace: ResidentSubspace
    let cache: KVCache
    private let sequences: [KVSequence]
    private let arena = Arena()

    init(model: String) throws {
      decoder = try Decoder(Checkpoint(directory: model), as: .bfloat16Pairs)
      subspace = try ResidentSubspace(
        SubspaceExtraction.random(
          sites: decoder.sites, base: decoder.digest, options: .init(rank: MemoryBenchmark.columns)),
        sites: decoder.sites)
      cache = KVCache(
        decoder.configuration, element: decoder.element.keyValues, limitBytes: 1 << 30)
      let cache = cache
      sequences = (0..<MemoryBenchmark.streams).map { _ in cache.makeSequence() }
      let prompts = DecodePrompts.random(
        sequences.count, tokens: MemoryBenchmark.streamTokens,
        vocabulary: decoder.configuration.vocabularySize)
      for (sequence, prompt) in zip(sequences, prompts) {
        guard sequence.reserve(prompt.count) else { throw BenchError("the cache has no room") }
        arena.scope {
          let hidden = decoder.forward(
            [DecoderInput(sequence: sequence, tokens: prompt)], patch: nil, arena: arena)
          _ = decoder.logits(hidden.rows(prompt.count - 1..<prompt.count), arena: arena)
        }
      }
    }
  }
}

struct MemoryResult: Codable {
  private static let servingLimit = 1.15
  private static let fineTuningLimit = 1_500_000_000

  var provenance = Provenance()
  let shape: DecoderShape
  let weightBytes: Int
  /// B at every site.
  let subspaceBytes: Int
  /// Pages that streams hold.
  let cacheBytes: Int
  /// Resident, beyond the process without a base.
  let servingBytes: Int
  /// The peak of a process that fine-tunes.
  let fineTuningBytes: Int

  init(
    shape: DecoderShape, weightBytes: Int, subspaceBytes: Int, cacheBytes: Int, servingBytes: Int,
    fineTuningBytes: Int
  ) {
    self.shape = shape
    self.weightBytes = weightBytes
    self.subspaceBytes = subspaceBytes
    self.cacheBytes = cacheBytes
    self.servingBytes = servingBytes
    self.fineTuningBytes = fineTuningBytes
  }

  var servingRatio: Double { Double(servingBytes) / Double(weightBytes + subspaceBytes + cacheBytes) }

  var misses: [String] {
    var misses: [String] = []
    if servingRatio > Self.servingLimit {
      misses.append(
        "serving takes \(servingRatio.text(3)) times its weights, B and cache, at most \(Self.servingLimit)")
    }
    if fineTuningBytes >= Self.fineTuningLimit {
      misses.append("fine-tuning peaks at \(fineTuningBytes) bytes, under \(Self.fineTuningLimit)")
    }
    return misses
  }
}
