internal import Foundation
internal import Models
internal import Safetensors

/// A small decoder's folder as a hub lays it out, with weights out of an integer generator; removed with its owner.
/// Qwen3's shape: grouped queries, heads wider than the model's width allows, norms of queries and keys, tied embeddings.
///
/// `Goldens/record_gradients.py` fills the same weights into transformers' model.
public final class MadeDecoder: Sendable {
  public struct Shape: Sendable {
    public var width = 48
    public var layers = 3
    public var heads = 4
    public var keyValueHeads = 2
    public var headSize = 16
    public var intermediate = 80
    public var vocabulary = 120
    public var positions = 64

    public init() {}

    /// With room for the vocabulary of `Goldens/tokenizers/qwen.json`.
    public static let withTokenizer: Shape = {
      var shape = Shape()
      shape.layers = 2
      shape.vocabulary = 2_048
      shape.positions = 256
      return shape
    }()
  }

  public typealias Tensor = (name: String, shape: [Int], values: [Float])

  public let directory: String

  /// - Parameters:
  ///   - tokenizer: a file of `Goldens/tokenizers` that becomes tokenizer.json.
  ///   - files: further files by name.
  ///   - edit: changes or removes tensors before they are written.
  public init(
    _ shape: Shape = Shape(), tokenizer: String? = nil, files: [String: String] = [:],
    edit: (inout [Tensor]) -> Void = { _ in }
  ) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "corad-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    directory = folder.path
    let config = """
      {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu",
       "hidden_size": \(shape.width), "num_hidden_layers": \(shape.layers), "num_attention_heads": \(shape.heads),
       "num_key_value_heads": \(shape.keyValueHeads), "head_dim": \(shape.headSize),
       "intermediate_size": \(shape.intermediate), "vocab_size": \(shape.vocabulary),
       "max_position_embeddings": \(shape.positions), "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
       "tie_word_embeddings": true, "eos_token_id": 0}
      """
    var tensors = try Self.tensors(DecoderConfiguration(configJSON: Array(config.utf8)))
    edit(&tensors)
    func write(_ bytes: [UInt8], _ name: String) throws {
      try Data(bytes).write(to: folder.appending(path: name))
    }
    try write(Array(config.utf8), "config.json")
    try write(SafetensorsEncoder.encode(tensors, metadata: ["format": "pt"]), "model.safetensors")
    for (name, text) in files { try write(Array(text.utf8), name) }
    guard let tokenizer else { return }
    let goldens = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Goldens/tokenizers")
    try FileManager.default.copyItem(
      at: goldens.appending(path: tokenizer), to: folder.appending(path: "tokenizer.json"))
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  private static func tensors(_ configuration: DecoderConfiguration) -> [Tensor] {
    let width = configuration.hiddenSize
    var shapes = [
      ("model.embed_tokens.weight", [configuration.vocabularySize, width]), ("model.norm.weight", [width]),
    ]
    for layer in 0..<configuration.layers {
      let block = "model.layers.\(layer)."
      for norm in ["input_layernorm", "post_attention_layernorm"] {
        shapes.append((block + norm + ".weight", [width]))
      }
      for norm in ["q_norm", "k_norm"] {
        shapes.append((block + "self_attn.\(norm).weight", [configuration.headSize]))
      }
    }
    for site in Site.all(of: configuration) {
      shapes.append((site.name + ".weight", [site.outputs, site.inputs]))
    }
    return shapes.map { name, shape in
      let values = stream(name, shape.reduce(1, *))
      return (name, shape, values.map { name.hasSuffix("norm.weight") ? 1 + 0.1 * $0 : 0.2 * $0 })
    }
  }

  /// Floats in -1 ..< 1: SplitMix64 as a counter, seeded by FNV-1a of the name; 24 bits each.
  private static func stream(_ name: String, _ count: Int) -> [Float] {
    let seed = name.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return (0..<count).map { index in
      var z = seed &+ (UInt64(index) &+ 1) &* 0x9e37_79b9_7f4a_7c15
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      z ^= z >> 31
      return Float(z >> 40) * 0x1p-23 - 1
    }
  }
}
