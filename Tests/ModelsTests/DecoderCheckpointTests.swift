import Digests
import Foundation
import Models
import Safetensors
import Tensors
import Testing

/// What a folder of the Llama family may say, and what is refused by its name.
@Suite struct DecoderCheckpointTests {
  static let config = """
    {"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":16,"num_hidden_layers":1,
    "num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":24,"max_position_embeddings":64,
    "vocab_size":30,"rms_norm_eps":1e-5,"hidden_act":"silu","tie_word_embeddings":false,"eos_token_id":2}
    """

  private func open(
    _ configure: (inout RandomCheckpoint.Options) -> Void = { _ in }
  ) throws -> Checkpoint {
    var options = RandomCheckpoint.Options()
    configure(&options)
    let folder = try RandomCheckpoint(label: "checkpoint", configJSON: Self.config, options)
    return try Checkpoint(directory: folder.directory)
  }

  private func configuration(
    _ family: String = "llama", _ edit: (inout [String: Any]) -> Void = { _ in }
  ) throws -> DecoderConfiguration {
    var object = try #require(
      try JSONSerialization.jsonObject(with: Data(Self.config.utf8)) as? [String: Any])
    object["model_type"] = family
    object["architectures"] = nil
    edit(&object)
    return try DecoderConfiguration(configJSON: Array(JSONSerialization.data(withJSONObject: object)))
  }

  struct Setting: CustomTestStringConvertible, @unchecked Sendable {
    // SAFETY: JSON values, immutable · let.
    let field: String
    let value: Any?
    let error: ModelError
    var testDescription: String { "\(field) = \(value.map { "\($0)" } ?? "absent")" }
  }

  static func scaling(_ value: [String: Any], _ field: String, _ said: String) -> Setting {
    Setting(field: "rope_scaling", value: value, error: .unsupportedSetting(field: field, value: said))
  }

  static let settings: [Setting] = [
    Setting(field: "model_type", value: "gemma2", error: .unsupportedArchitecture("gemma2")),
    Setting(
      field: "architectures", value: ["LlamaForSequenceClassification"],
      error: .unsupportedArchitecture("LlamaForSequenceClassification")),
    Setting(
      field: "hidden_act", value: "gelu", error: .unsupportedSetting(field: "hidden_act", value: "gelu")),
    Setting(
      field: "quantization_config", value: ["quant_method": "gptq"],
      error: .unsupportedSetting(field: "quantization_config", value: "gptq")),
    Setting(
      field: "partial_rotary_factor", value: 0.5,
      error: .unsupportedSetting(field: "partial_rotary_factor", value: "0.5")),
    scaling(["type": "dynamic", "factor": 2], "rope_scaling", "dynamic"),
    scaling(["rope_type": "longrope", "short_factor": [1]], "rope_scaling", "longrope"),
    scaling(["rope_type": "default", "mrope_section": [1, 1]], "rope_scaling", "mrope_section"),
    scaling(["rope_type": "linear", "factor": -1], "rope_scaling.factor", "-1.0"),
    scaling(
      ["rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4],
      "rope_scaling.high_freq_factor", "4.0"),
    Setting(
      field: "rope_scaling", value: ["type": "yarn"], error: .missingSetting(field: "rope_scaling.factor")),
    Setting(
      field: "rope_scaling", value: ["rope_type": "llama3", "factor": 8],
      error: .missingSetting(field: "rope_scaling.low_freq_factor")),
    Setting(
      field: "rope_parameters", value: ["full_attention": ["rope_type": "default"]],
      error: .unsupportedSetting(field: "rope_scaling", value: "full_attention")),
    Setting(
      field: "rope_theta", value: 0, error: .unsupportedSetting(field: "rope_theta", value: "0.0")),
    Setting(
      field: "rope_scaling", value: "yarn", error: .malformed(file: "config.json", field: "rope_scaling")),
    Setting(field: "num_hidden_layers", value: nil, error: .missingSetting(field: "num_hidden_layers")),
    Setting(
      field: "num_key_value_heads", value: 3,
      error: .settingOutOfRange(field: "num_key_value_heads", value: 3)),
    Setting(
      field: "num_attention_heads", value: 6,
      error: .settingOutOfRange(field: "num_attention_heads", value: 6)),
    Setting(field: "head_dim", value: 3, error: .settingOutOfRange(field: "head_dim", value: 3)),
    Setting(field: "head_dim", value: 1 << 20, error: .settingOutOfRange(field: "head_dim", value: 1 << 20)),
    Setting(
      field: "rms_norm_eps", value: 0, error: .unsupportedSetting(field: "rms_norm_eps", value: "0.0")),
    Setting(field: "eos_token_id", value: "x", error: .malformed(file: "config.json", field: "eos_token_id")),
    Setting(
      field: "vocab_size", value: 31,
      error: .wrongShape(name: "model.embed_tokens.weight", expected: [31, 16], actual: [30, 16])),
    Setting(
      field: "num_hidden_layers", value: 2,
      error: .missingTensor(name: "model.layers.1.input_layernorm.weight")),
    Setting(
      field: "attention_bias", value: true,
      error: .missingTensor(name: "model.layers.0.self_attn.q_proj.bias")),
    Setting(
      field: "model_type", value: "qwen3",
      error: .unsupportedArchitecture("LlamaForCausalLM")),
  ]

  @Test(arguments: settings) func `a config that we cannot honour is refused by name`(_ setting: Setting) {
    #expect(throws: setting.error) {
      try open { $0.configEdit = { $0[setting.field] = setting.value } }
    }
  }

  @Test func `a missing head or norm of heads is refused by its name`() {
    #expect(throws: ModelError.missingTensor(name: "lm_head.weight")) {
      try open { $0.edit = { $0.removeAll { $0.name == "lm_head.weight" } } }
    }
    #expect(throws: ModelError.missingTensor(name: "model.layers.0.self_attn.q_norm.weight")) {
      try open {
        $0.configEdit = {
          $0["model_type"] = "qwen3"
          $0["architectures"] = nil
          $0["head_dim"] = 4
        }
      }
    }
    let name = "model.layers.0.self_attn.k_proj.weight"
    #expect(throws: ModelError.wrongShape(name: name, expected: [8, 16], actual: [16, 8])) {
      try open {
        $0.edit = { tensors in
          for index in tensors.indices where tensors[index].name == name { tensors[index].shape.reverse() }
        }
      }
    }
  }

  @Test func `each model is built from its own family's checkpoint`() throws {
    let decoder = try open()
    #expect(throws: ModelError.unsupportedArchitecture("llama")) { try Encoder(decoder) }
    let folder = try RandomCheckpoint(label: "checkpoint", configJSON: CheckpointTests.config)
    let encoder = try Checkpoint(directory: folder.directory)
    #expect(throws: ModelError.unsupportedArchitecture("bert")) { try Decoder(encoder) }
    #expect(decoder.configuration.modelType == "llama" && encoder.configuration.modelType == "bert")
    #expect(try decoder.pooler() == nil && decoder.classifier() == nil)
  }

  @Test func `families' defaults are transformers'`() throws {
    let llama = try configuration()
    #expect(llama.biases.isEmpty && !llama.normsHeads && llama.headSize == 4 && llama.windows == [nil])
    #expect(try configuration { $0["rope_scaling"] = NSNull() }.rotary == llama.rotary)
    #expect(llama.rotary.theta == 10_000 && llama.endTokenIDs == [2])
    #expect(try configuration { $0["num_key_value_heads"] = nil }.keyValueHeads == 4)
    #expect(try configuration { $0["mlp_bias"] = true }.biases == [.gate, .intermediate, .output])

    let long = { (object: inout [String: Any]) in object["max_position_embeddings"] = 8192 }
    #expect(try configuration("mistral", long).windows == [4096])
    #expect(try configuration("mistral").windows == [nil])
    #expect(
      try configuration("mistral") {
        long(&$0)
        $0["sliding_window"] = NSNull()
      }.windows == [nil])
    let qwen2 = try configuration("qwen2") { $0["sliding_window"] = 8 }
    #expect(qwen2.biases == [.query, .key, .value] && qwen2.windows == [nil])
    let sliding = { (object: inout [String: Any]) in
      object["use_sliding_window"] = true
      object["sliding_window"] = 8
      object["num_hidden_layers"] = 3
      object["max_window_layers"] = 1
    }
    #expect(try configuration("qwen2", sliding).windows == [nil, 8, 8])
    #expect(
      try configuration("qwen3") {
        sliding(&$0)
        $0["layer_types"] = ["sliding_attention", "full_attention", "full_attention"]
      }.windows == [8, nil, nil])
    #expect(throws: ModelError.unsupportedSetting(field: "layer_types", value: "linear_attention")) {
      try configuration("qwen3") { $0["layer_types"] = ["linear_attention"] }
    }
    let qwen3 = try configuration("qwen3")
    #expect(qwen3.normsHeads && qwen3.headSize == 128 && qwen3.biases.isEmpty)
    #expect(qwen3.queryWidth == 512 && qwen3.keyValueWidth == 256)
  }

  @Test func `sites are the checkpoint's names, q to down`() throws {
    let checkpoint = try open()
    #expect(
      checkpoint.sites.map(\.name)
        == ["q_proj", "k_proj", "v_proj", "o_proj"].map { "model.layers.0.self_attn." + $0 }
        + ["gate_proj", "up_proj", "down_proj"].map { "model.layers.0.mlp." + $0 })
    #expect(checkpoint.sites.map(\.index) == Array(0..<7))
    #expect(checkpoint.sites.map(\.kind) == SiteKind.decoder)
    #expect(checkpoint.sites.map(\.outputs) == [16, 8, 8, 16, 24, 24, 16])
    #expect(checkpoint.sites.map(\.inputs) == [16, 16, 16, 16, 16, 16, 24])
    #expect(checkpoint.parameterCount == 2 * 30 * 16 + 3 * 16 + 16 * (16 + 8 + 8 + 16 + 3 * 24))
    let weight = try checkpoint.weight(of: checkpoint.sites[1])
    #expect(
      weight.values
        == GoldenStream.values("checkpoint/" + checkpoint.sites[1].name + ".weight", 128).map { $0 / 8 })
  }

  @Test func `names without the prefix are read`() throws {
    let plain = try Decoder(open())
    let bare = try Decoder(
      open {
        $0.edit = { tensors in
          for index in tensors.indices where tensors[index].name.hasPrefix("model.") {
            tensors[index].name.removeFirst(6)
          }
        }
      })
    let batch = PackedBatch(sequences: [[1, 2, 3]])
    #expect(logits(bare, batch) == logits(plain, batch))
  }

  @Test func `the tokens that end a text are the generation config's where it has some`() throws {
    #expect(try open().endTokenIDs == [2])
    #expect(try open { $0.generationConfig = #"{"eos_token_id":[5,6]}"# }.endTokenIDs == [5, 6])
    #expect(try open { $0.generationConfig = #"{"eos_token_id":7}"# }.endTokenIDs == [7])
    #expect(try open { $0.generationConfig = #"{"temperature":0.6}"# }.endTokenIDs == [2])
    #expect(throws: ModelError.malformed(file: "generation_config.json", field: "eos_token_id")) {
      try open { $0.generationConfig = #"{"eos_token_id":{}}"# }
    }
  }

  @Test func `a packed decoder holds its matrices once and in the bytes that it says`() throws {
    let fixtures = try PackedElement.allCases.map { try DecoderFixture("smollm2", as: $0) }
    for fixture in fixtures {
      let shape = fixture.decoder.configuration
      func bytes(_ outputs: Int, _ inputs: Int, _ element: PackedElement) -> Int {
        /// Half bits of a weight.
        let size: Int =
          switch element {
          case .float32: 64
          case .bfloat16, .bfloat16Pairs: 32
          case .int8: 17
          case .int4: 9
          }
        let rows = (outputs + 15) / 16 * 16
        let columns = element.isQuantised ? (inputs + 31) / 32 * 32 : inputs
        return rows * columns * size / 16
      }
      let element = fixture.decoder.element
      var matrices = bytes(shape.vocabularySize, shape.hiddenSize, element == .int4 ? .int8 : element)
      for site in fixture.decoder.sites { matrices += bytes(site.outputs, site.inputs, element) }
      let norms = (2 * shape.layers + 1) * shape.hiddenSize * 4
      #expect(fixture.decoder.residentBytes == matrices + norms)
    }
  }

  // MARK: Shards

  @Test func `shards are one checkpoint`() throws {
    let whole = try open()
    let sharded = try open { $0.shards = 3 }
    #expect(sharded.sites == whole.sites && sharded.digest != whole.digest)
    for site in whole.sites { #expect(try sharded.weight(of: site) == whole.weight(of: site)) }
  }

  @Test func `the digest covers every shard in order and the config`() throws {
    var options = RandomCheckpoint.Options()
    options.shards = 2
    let folder = try RandomCheckpoint(label: "digest", configJSON: Self.config, options)
    var stream = SHA256Stream()
    for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"] {
      stream.update(Array(try Data(contentsOf: URL(filePath: folder.directory + "/" + name))))
    }
    let expected = stream.finalize()
    #expect(try Checkpoint(directory: folder.directory).digest == expected)
  }

  @Test func `an index that lies is refused by name`() throws {
    func openEdited(_ edit: @escaping (inout [String: String]) -> Void) throws -> Checkpoint {
      try open {
        $0.shards = 2
        $0.indexEdit = edit
      }
    }
    let name = "model.norm.weight"
    #expect(throws: ModelError.missingTensor(name: name)) {
      try openEdited { $0[name] = "model-00001-of-00002.safetensors" }
    }
    #expect(throws: ModelError.missingTensor(name: name)) { try openEdited { $0[name] = nil } }
    #expect(throws: ModelError.missingTensor(name: "model.ghost")) {
      try openEdited { $0["model.ghost"] = "model-00001-of-00002.safetensors" }
    }
    for outside in ["../other.safetensors", "/tmp/other.safetensors", "model.bin"] {
      #expect(throws: ModelError.malformed(file: "model.safetensors.index.json", field: "weight_map")) {
        try openEdited { $0[name] = outside }
      }
    }
    #expect(throws: ModelError.malformed(file: "model.safetensors.index.json", field: "weight_map")) {
      try openEdited { $0 = [:] }
    }
    do {
      _ = try openEdited { $0[name] = "absent.safetensors" }
      Issue.record("an absent shard was read")
    } catch ModelError.shard(file: "absent.safetensors", SafetensorsError.unreadable(path: _, code: 2)) {}
  }
}
