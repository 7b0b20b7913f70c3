import Foundation
import Models
import Safetensors

/// The integer generator of Tests/Goldens/record_encoder.py and record_decoder.py.
enum GoldenStream {
  /// SplitMix64 as a counter, seeded by FNV-1a of the name.
  static func hashes(_ name: String, _ count: Int) -> [UInt64] {
    let seed = name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    return (0..<count).map { index in
      var z = seed &+ UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15
      z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
      return z ^ z >> 31
    }
  }

  /// Multiples of 1/128 in -1 ..< 1.
  static func values(_ name: String, _ count: Int) -> [Float] {
    hashes(name, count).map { (Float($0 >> 56) - 128) / 128 }
  }
}

/// A model folder with generated weights, removed with its owner.
final class RandomCheckpoint {
  struct Options {
    var prefix = ""
    var pooler = true
    var labels = 0
    var elementType = ElementType.f32
    var oldNormNames = false
    /// Changes or removes tensors before they are written.
    var edit: (inout [(name: String, shape: [Int], values: [Float])]) -> Void = { _ in }
    var configEdit: (inout [String: Any]) -> Void = { _ in }
    var sentenceConfig: String?
    var generationConfig: String?
    /// More than one: the tensors are dealt out to as many files, with an index.
    var shards = 1
    var indexEdit: (inout [String: String]) -> Void = { _ in }
  }

  typealias Tensor = (name: String, shape: [Int], values: [Float])

  let directory: String

  init(label: String, configJSON: String, _ options: Options = Options()) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "corad-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    directory = folder.path
    let parsed = try JSONSerialization.jsonObject(with: Data(configJSON.utf8))
    guard var object = parsed as? [String: Any] else { throw ModelError.malformed(file: "test", field: nil) }
    var tensors: [Tensor]
    switch try ModelConfiguration(configJSON: Array(configJSON.utf8)) {
    case .encoder(let configuration): tensors = Self.tensors(label: label, configuration, options)
    case .decoder(let configuration): tensors = Self.tensors(label: label, configuration, options)
    }
    options.edit(&tensors)
    options.configEdit(&object)
    try JSONSerialization.data(withJSONObject: object).write(to: folder.appending(path: "config.json"))
    try Self.write(tensors, options, to: folder)
    if let text = options.sentenceConfig {
      try Data(text.utf8).write(to: folder.appending(path: "sentence_bert_config.json"))
    }
    if let text = options.generationConfig {
      try Data(text.utf8).write(to: folder.appending(path: "generation_config.json"))
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  private static func tensors(
    label: String, _ configuration: EncoderConfiguration, _ options: Options
  ) -> [Tensor] {
    let width = configuration.hiddenSize
    var shapes: [(String, [Int])] = [
      ("embeddings.word_embeddings.weight", [configuration.vocabularySize, width]),
      ("embeddings.position_embeddings.weight", [configuration.positions, width]),
      ("embeddings.token_type_embeddings.weight", [configuration.typeVocabularySize, width]),
    ]
    var norms = ["embeddings.LayerNorm"]
    for layer in 0..<configuration.layers {
      norms += ["attention.output.LayerNorm", "output.LayerNorm"].map { "encoder.layer.\(layer).\($0)" }
    }
    for norm in norms { shapes += [(norm + ".weight", [width]), (norm + ".bias", [width])] }
    for site in Site.all(of: configuration) {
      shapes += [
        (site.name + ".weight", [site.outputs, site.inputs]), (site.name + ".bias", [site.outputs]),
      ]
    }
    if options.pooler {
      shapes += [("pooler.dense.weight", [width, width]), ("pooler.dense.bias", [width])]
    }
    if options.labels > 0 {
      shapes += [("classifier.weight", [options.labels, width]), ("classifier.bias", [options.labels])]
    }
    return shapes.map { name, shape in
      var values = GoldenStream.values("\(label)/\(name)", shape.reduce(1, *))
      if name.hasSuffix("LayerNorm.weight") {
        values = values.map { ((1 + $0 / 2) * 128).rounded(.toNearestOrEven) / 128 }
      } else if !(name.hasPrefix("embeddings.") && name.hasSuffix("embeddings.weight")) {
        values = values.map { $0 / 8 }
      }
      var stored = (name.hasPrefix("classifier") ? "" : options.prefix) + name
      if options.oldNormNames {
        stored = stored.replacingOccurrences(of: "LayerNorm.weight", with: "LayerNorm.gamma")
          .replacingOccurrences(of: "LayerNorm.bias", with: "LayerNorm.beta")
      }
      return (stored, shape, values)
    }
  }

  private static func tensors(
    label: String, _ configuration: DecoderConfiguration, _ options: Options
  ) -> [Tensor] {
    let width = configuration.hiddenSize
    var shapes: [(String, [Int])] = [
      ("model.embed_tokens.weight", [configuration.vocabularySize, width]), ("model.norm.weight", [width]),
    ]
    for layer in 0..<configuration.layers {
      let block = "model.layers.\(layer)."
      for norm in ["input_layernorm", "post_attention_layernorm"] {
        shapes.append((block + norm + ".weight", [width]))
      }
      guard configuration.normsHeads else { continue }
      for norm in ["q_norm", "k_norm"] {
        shapes.append((block + "self_attn.\(norm).weight", [configuration.headSize]))
      }
    }
    for site in Site.all(of: configuration) {
      shapes.append((site.name + ".weight", [site.outputs, site.inputs]))
      if site.hasBias { shapes.append((site.name + ".bias", [site.outputs])) }
    }
    if !configuration.tiesEmbeddings {
      shapes.append(("lm_head.weight", [configuration.vocabularySize, width]))
    }
    return shapes.map { name, shape in
      var values = GoldenStream.values("\(label)/\(name)", shape.reduce(1, *))
      if name.hasSuffix("norm.weight") {
        values = values.map { ((1 + $0 / 2) * 128).rounded(.toNearestOrEven) / 128 }
      } else if configuration.tiesEmbeddings || name != "model.embed_tokens.weight" {
        values = values.map { $0 / 8 }
      }
      return (name, shape, values)
    }
  }

  private static func write(_ tensors: [Tensor], _ options: Options, to folder: URL) throws {
    guard options.shards > 1 else {
      try Data(encode(tensors, options.elementType)).write(to: folder.appending(path: "model.safetensors"))
      return
    }
    var shardOf: [String: String] = [:]
    for shard in 0..<options.shards {
      let name = "model-0000\(shard + 1)-of-0000\(options.shards).safetensors"
      let own = tensors.enumerated().filter { $0.offset % options.shards == shard }.map(\.element)
      for tensor in own { shardOf[tensor.name] = name }
      try Data(encode(own, options.elementType)).write(to: folder.appending(path: name))
    }
    options.indexEdit(&shardOf)
    try JSONSerialization.data(withJSONObject: ["metadata": ["total_size": 1], "weight_map": shardOf])
      .write(to: folder.appending(path: "model.safetensors.index.json"))
  }

  private static func encode(
    _ tensors: [Tensor], _ type: ElementType
  ) -> [UInt8] {
    if type == .f32 { return SafetensorsEncoder.encode(tensors, metadata: ["format": "pt"]) }
    var data: [UInt8] = []
    var entries: [String] = []
    for tensor in tensors {
      let start = data.count
      for value in tensor.values {
        let bits = type == .f16 ? Float16(value).bitPattern : UInt16(value.bitPattern >> 16)
        data += [UInt8(truncatingIfNeeded: bits), UInt8(bits >> 8)]
      }
      entries.append(
        "\"\(tensor.name)\":{\"dtype\":\"\(type.rawValue)\",\"shape\":\(tensor.shape),"
          + "\"data_offsets\":[\(start),\(data.count)]}")
    }
    let header = Array("{\(entries.joined(separator: ","))}".utf8)
    return withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + data
  }
}
