import Adapters
import Digests
import Foundation
import Models
import Safetensors
import Tensors
import Testing
import Tokenizers

@testable import Engine

/// A small decoder with random weights over a recorded tokenizer's vocabulary, and adapters for it.
struct EngineFixture: Sendable {
  /// One continuation of a prompt, computed alone.
  struct Case: Sendable {
    let prompt: [Int32]
    /// nil: the bare base.
    let task: Int?
  }

  let decoder: Decoder
  let tokenizer: Tokenizer
  let subspace: ResidentSubspace
  /// Tasks through the subspace, and a last one with a B of its own.
  let adapters: [ResidentAdapter]

  private static let made = PackedElement.allCases.map { element in
    (element: element, fixture: Result { try EngineFixture(as: element) })
  }

  static func shared(_ element: PackedElement = .float32) throws -> EngineFixture {
    try #require(made.first { $0.element == element }).fixture.get()
  }

  static let goldens = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Goldens")

  private init(as element: PackedElement) throws {
    let file = Self.goldens.appending(path: "tokenizers/smollm.json")
    tokenizer = try Tokenizer(json: Array(Data(contentsOf: file)))
    let folder = FileManager.default.temporaryDirectory.appending(path: "corad-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let config = """
      {"model_type": "llama", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
       "num_key_value_heads": 2, "intermediate_size": 80, "max_position_embeddings": 640,
       "vocab_size": \(tokenizer.vocabularySize), "rms_norm_eps": 1e-5, "hidden_act": "silu",
       "tie_word_embeddings": false, "rope_theta": 10000.0}
      """
    try Data(config.utf8).write(to: folder.appending(path: "config.json"))
    guard case .decoder(let configuration) = try ModelConfiguration(configJSON: Array(config.utf8)) else {
      throw CocoaError(.fileReadCorruptFile)
    }
    try Data(SafetensorsEncoder.encode(Self.tensors(configuration), metadata: [:]))
      .write(to: folder.appending(path: "model.safetensors"))
    decoder = try Decoder(Checkpoint(directory: folder.path), as: element)

    let (sites, base) = (decoder.sites, decoder.digest)
    let shared = try SubspaceExtraction.random(sites: sites, base: base, options: .init(rank: 8, seed: 1))
    subspace = try ResidentSubspace(shared, sites: sites)
    adapters = try (0..<16).map { task in
      var random = RandomSource(seed: 100, stream: UInt64(task + 1))
      let own = task == 15
      var updates: [String: SiteUpdate] = [:]
      for site in sites where task % 3 == 0 || site.kind == .query || site.kind == .value {
        let rank = own ? 4 : min(shared.sites[site.name]?.basis.columns ?? 0, task % 4 == 3 ? 4 : 8)
        updates[site.name] = SiteUpdate(
          coefficients: random.matrix(rank, site.inputs, 0.4),
          privateBasis: own ? random.matrix(site.outputs, rank, 0.3) : nil)
      }
      let version = AdapterVersion(
        kind: .embedding, method: own ? "lora" : "cora", rank: own ? 4 : 8, alpha: 16, base: base,
        subspace: own ? nil : shared.digest, updates: updates, head: .mean)
      return try ResidentAdapter(version, sites: sites)
    }
  }

  private static func tensors(
    _ configuration: DecoderConfiguration
  ) -> [(name: String, shape: [Int], values: [Float])] {
    var random = RandomSource(seed: 5)
    let width = configuration.hiddenSize
    func matrix(_ name: String, _ rows: Int, _ columns: Int, _ scale: Float) -> (
      name: String, shape: [Int], values: [Float]
    ) {
      (name, [rows, columns], random.matrix(rows, columns, scale).values)
    }
    var tensors = [
      matrix("model.embed_tokens.weight", configuration.vocabularySize, width, 1),
      matrix("lm_head.weight", configuration.vocabularySize, width, 0.4),
      ("model.norm.weight", [width], [Float](repeating: 1, count: width)),
    ]
    for layer in 0..<configuration.layers {
      for norm in ["input_layernorm", "post_attention_layernorm"] {
        tensors.append(
          ("model.layers.\(layer).\(norm).weight", [width], [Float](repeating: 1, count: width)))
      }
    }
    for site in Site.all(of: configuration) {
      tensors.append(matrix(site.name + ".weight", site.outputs, site.inputs, 0.2))
    }
    return tensors
  }

  // MARK: - Requests

  func prompt(_ count: Int, seed: UInt64) -> [Int32] {
    var random = RandomSource(seed: seed, stream: 77)
    return (0..<count).map { _ in Int32(random.below(tokenizer.vocabularySize)) }
  }

  func version(_ task: Int?) -> String { task.map { "sha256:\($0)" } ?? "" }

  func request(
    _ prompt: [Int32], task: Int? = nil, maxTokens: Int? = 12, sampling: SamplingSettings = .greedy,
    endTokens: Set<Int32> = [], stopStrings: [String] = [], principal: String = ""
  ) -> GenerationRequest {
    let adapter = task.map { adapters[$0] }
    return GenerationRequest(
      prompt: prompt, maxTokens: maxTokens, sampling: sampling, endTokens: endTokens,
      stopStrings: stopStrings, adapter: adapter, subspace: adapter?.subspace == nil ? nil : subspace,
      version: version(task), principal: principal, skipsSpecialTokens: false)
  }

  /// The plain loop: the whole prompt in one pass, then one token a pass, nobody else there.
  func plain(_ request: GenerationRequest, count: Int) -> [Int32] {
    let cache = KVCache(decoder.configuration, element: decoder.element.keyValues, limitBytes: 1 << 27)
    let sequence = cache.makeSequence()
    let arena = Arena()
    var sampler = Sampler(request.sampling, prompt: request.prompt, seed: 0)
    var (next, result) = (request.prompt, [Int32]())
    while result.count < count, sequence.reserve(next.count) {
      arena.scope {
        let patch = request.adapter.map { adapter in
          BatchPatch(
            sites: decoder.sites,
            groups: [RowGroup(rows: 0..<next.count, adapter: adapter, subspace: request.subspace)],
            primary: subspace)
        }
        let hidden = decoder.forward(
          [DecoderInput(sequence: sequence, tokens: next)], patch: patch, arena: arena)
        let scores = decoder.logits(hidden.rows(next.count - 1..<next.count), arena: arena)
        let row = UnsafeMutableBufferPointer(start: scores.base, count: scores.columns)
        if request.sampling.temperature == 0 {
          next = [Int32(row.indices.reduce(0) { row[$1] > row[$0] ? $1 : $0 })]
        } else {
          next = [sampler.next(row).id]
        }
      }
      result += next
    }
    return result
  }

  func executor(
    _ lanes: ComputeLanes, hasPrimary: Bool = true,
    _ change: (inout GenerationExecutor.Configuration) -> Void = { _ in }
  ) -> GenerationExecutor {
    var configuration = GenerationExecutor.Configuration()
    configuration.cacheBytes = 1 << 27
    configuration.prefixBytes = 0
    change(&configuration)
    return GenerationExecutor(
      decoder: decoder, tokenizer: tokenizer, lanes: lanes, primary: hasPrimary ? subspace : nil,
      configuration: configuration)
  }

  /// Bytes of so many pages of 16 tokens.
  func bytes(pages: Int) -> Int {
    KVCache(
      decoder.configuration, element: decoder.element.keyValues, limitBytes: 0, pageTokens: 16
    ).pageBytes * pages
  }
}

extension RandomSource {
  mutating func matrix(_ rows: Int, _ columns: Int, _ scale: Float) -> Matrix {
    Matrix(rows: rows, columns: columns, values: (0..<rows * columns).map { _ in scale * normal() })
  }
}

/// All that a stream brought.
struct Heard: Sendable, Equatable {
  var tokens: [GeneratedToken] = []
  var end: GenerationEnd?

  var ids: [Int32] { tokens.map(\.id) }
  var text: String { tokens.map(\.text).joined() + (end?.text ?? "") }

  init(_ stream: AsyncStream<GenerationEvent>) async {
    for await event in stream {
      switch event {
      case .token(let token): tokens.append(token)
      case .finished(let end): self.end = end
      }
    }
  }
}

/// Runs requests all at once and gives what each heard.
func hear(_ executor: GenerationExecutor, _ requests: [GenerationRequest]) async throws -> [Heard] {
  let streams = try requests.map { try executor.submit($0) }
  return await withTaskGroup(of: (Int, Heard).self) { group in
    for (index, stream) in streams.enumerated() {
      group.addTask { (index, await Heard(stream)) }
    }
    var heard: [Int: Heard] = [:]
    for await (index, result) in group { heard[index] = result }
    return streams.indices.compactMap { heard[$0] }
  }
}

/// Lanes that end with the body.
func withLanes<R: Sendable>(
  _ count: Int = 2, _ body: (ComputeLanes) async throws -> R
) async throws -> R {
  let lanes = ComputeLanes(count: count)
  defer { lanes.stop() }
  return try await body(lanes)
}
