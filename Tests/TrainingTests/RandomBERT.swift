import Foundation
import Models
import Safetensors
import Tensors

/// Floats in -1 ..< 1 that a recording script has too: SplitMix64 as a counter, seeded by FNV-1a of a name.
func stream(_ name: String, _ count: Int, scale: Float = 1) -> [Float] {
  var seed: UInt64 = 0xcbf2_9ce4_8422_2325
  for byte in name.utf8 { seed = (seed ^ UInt64(byte)) &* 0x100_0000_01b3 }
  return (0..<count).map { index in
    var z = seed &+ (UInt64(index) &+ 1) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    z ^= z >> 31
    return (Float(z >> 40) * 0x1p-23 - 1) * scale
  }
}

func streamMatrix(_ name: String, _ rows: Int, _ columns: Int, scale: Float) -> Matrix {
  Matrix(rows: rows, columns: columns, values: stream(name, rows * columns, scale: scale))
}

/// A BERT with weights out of `stream`, as Goldens/record_gradients.py fills it.
struct RandomBERT: Sendable {
  var width = 48
  var layers = 3
  var heads = 4
  var intermediate = 80
  var vocabulary = 120
  var positions = 64

  /// A model that a Double loop can differentiate by differences.
  static let tiny = RandomBERT(width: 8, layers: 2, heads: 2, intermediate: 12, vocabulary: 20, positions: 16)

  /// Name, shape and values of every weight, checkpoint names without prefix.
  var tensors: [(name: String, shape: [Int], values: [Float])] {
    var shapes: [(String, [Int])] = [
      ("embeddings.word_embeddings.weight", [vocabulary, width]),
      ("embeddings.position_embeddings.weight", [positions, width]),
      ("embeddings.token_type_embeddings.weight", [2, width]),
    ]
    func norm(_ name: String) {
      shapes += [("\(name).LayerNorm.weight", [width]), ("\(name).LayerNorm.bias", [width])]
    }
    func dense(_ name: String, _ outputs: Int, _ inputs: Int) {
      shapes += [("\(name).weight", [outputs, inputs]), ("\(name).bias", [outputs])]
    }
    norm("embeddings")
    for layer in 0..<layers {
      let prefix = "encoder.layer.\(layer)"
      for kind in ["query", "key", "value"] { dense("\(prefix).attention.self.\(kind)", width, width) }
      dense("\(prefix).attention.output.dense", width, width)
      norm("\(prefix).attention.output")
      dense("\(prefix).intermediate.dense", intermediate, width)
      dense("\(prefix).output.dense", width, intermediate)
      norm("\(prefix).output")
    }
    return shapes.map { name, shape in
      let values = stream(name, shape.reduce(1, *))
      if name.hasSuffix("LayerNorm.weight") { return (name, shape, values.map { 1 + 0.1 * $0 }) }
      return (name, shape, values.map { (name.hasSuffix("bias") ? 0.05 : 0.2) * $0 })
    }
  }

  var configuration: String {
    """
    {"model_type": "bert", "hidden_act": "gelu", "hidden_size": \(width), "num_hidden_layers": \(layers),
     "num_attention_heads": \(heads), "intermediate_size": \(intermediate), "vocab_size": \(vocabulary),
     "max_position_embeddings": \(positions), "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
     "position_embedding_type": "absolute", "architectures": ["BertModel"]}
    """
  }

  /// Writes the folder, loads it and removes it.
  func encoder() throws -> Encoder {
    let folder = FileManager.default.temporaryDirectory.appending(path: "corad-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data(configuration.utf8).write(to: folder.appending(path: "config.json"))
    try Data(SafetensorsEncoder.encode(tensors, metadata: [:]))
      .write(to: folder.appending(path: "model.safetensors"))
    return try Encoder(Checkpoint(directory: folder.path()))
  }
}
