import Digests
import Foundation
import Models
import Safetensors
import Tensors
import Testing

@Suite struct CheckpointTests {
  static let config = """
    {"model_type":"bert","architectures":["BertModel"],"hidden_size":16,"num_hidden_layers":1,
    "num_attention_heads":2,"intermediate_size":24,"max_position_embeddings":10,"vocab_size":30,
    "type_vocab_size":2,"hidden_act":"gelu","pad_token_id":0}
    """

  private func open(
    _ configure: (inout RandomCheckpoint.Options) -> Void = { _ in }
  ) throws -> Checkpoint {
    var options = RandomCheckpoint.Options()
    configure(&options)
    let folder = try RandomCheckpoint(label: "checkpoint", configJSON: Self.config, options)
    return try Checkpoint(directory: folder.directory)
  }

  struct Setting: CustomTestStringConvertible, @unchecked Sendable {
    // SAFETY: JSON values, immutable · let.
    let field: String
    let value: Any?
    let error: ModelError
    var testDescription: String { "\(field) = \(value.map { "\($0)" } ?? "absent")" }
  }

  static let settings = [
    Setting(field: "model_type", value: "roberta", error: .unsupportedArchitecture("roberta")),
    Setting(field: "model_type", value: "distilbert", error: .unsupportedArchitecture("distilbert")),
    Setting(field: "model_type", value: "gpt2", error: .unsupportedArchitecture("gpt2")),
    Setting(
      field: "architectures", value: ["T5EncoderModel"], error: .unsupportedArchitecture("T5EncoderModel")),
    Setting(
      field: "position_embedding_type", value: "relative_key",
      error: .unsupportedSetting(field: "position_embedding_type", value: "relative_key")),
    Setting(
      field: "is_decoder", value: true, error: .unsupportedSetting(field: "is_decoder", value: "true")),
    Setting(
      field: "add_cross_attention", value: true,
      error: .unsupportedSetting(field: "add_cross_attention", value: "true")),
    Setting(
      field: "hidden_act", value: "silu", error: .unsupportedSetting(field: "hidden_act", value: "silu")),
    Setting(
      field: "layer_norm_eps", value: 0, error: .unsupportedSetting(field: "layer_norm_eps", value: "0.0")),
    Setting(field: "hidden_size", value: nil, error: .missingSetting(field: "hidden_size")),
    Setting(field: "hidden_size", value: 0, error: .settingOutOfRange(field: "hidden_size", value: 0)),
    Setting(
      field: "hidden_size", value: 1 << 40,
      error: .settingOutOfRange(field: "hidden_size", value: 1 << 40)),
    Setting(
      field: "num_attention_heads", value: 3,
      error: .settingOutOfRange(field: "num_attention_heads", value: 3)),
    Setting(
      field: "num_hidden_layers", value: -1,
      error: .settingOutOfRange(field: "num_hidden_layers", value: -1)),
    Setting(
      field: "pad_token_id", value: 30, error: .settingOutOfRange(field: "pad_token_id", value: 30)),
    Setting(
      field: "vocab_size", value: "many", error: .malformed(file: "config.json", field: "vocab_size")),
    Setting(
      field: "vocab_size", value: 31,
      error: .wrongShape(name: "embeddings.word_embeddings.weight", expected: [31, 16], actual: [30, 16])),
    Setting(
      field: "num_hidden_layers", value: 2,
      error: .missingTensor(name: "encoder.layer.1.attention.output.LayerNorm.weight")),
  ]

  @Test(arguments: settings) func `a config outside the family is refused by name`(_ setting: Setting) {
    #expect(throws: setting.error) {
      try open { $0.configEdit = { $0[setting.field] = setting.value } }
    }
  }

  @Test func `without a model type the architecture decides`() throws {
    _ = try open { $0.configEdit = { $0["model_type"] = nil } }
    #expect(throws: ModelError.missingSetting(field: "model_type")) {
      try open {
        $0.configEdit = {
          $0["model_type"] = nil
          $0["architectures"] = nil
        }
      }
    }
  }

  @Test func `a config that is no object is malformed`() {
    for text in ["", "[]", "{", "null", String(repeating: "[", count: 100_000)] {
      #expect(throws: ModelError.self) { try EncoderConfiguration(configJSON: Array(text.utf8)) }
    }
  }

  @Test func `a missing tensor is refused by its name`() {
    #expect(throws: ModelError.missingTensor(name: "bert.encoder.layer.0.output.dense.bias")) {
      try open {
        $0.prefix = "bert."
        $0.edit = { $0.removeAll { $0.name.hasSuffix("layer.0.output.dense.bias") } }
      }
    }
    #expect(throws: ModelError.missingTensor(name: "pooler.dense.bias")) {
      try open { $0.edit = { $0.removeAll { $0.name == "pooler.dense.bias" } } }
    }
  }

  @Test func `a transposed tensor is refused with both shapes`() {
    let name = "encoder.layer.0.intermediate.dense.weight"
    #expect(throws: ModelError.wrongShape(name: name, expected: [24, 16], actual: [16, 24])) {
      try open {
        $0.edit = { tensors in
          for index in tensors.indices where tensors[index].name == name { tensors[index].shape.reverse() }
        }
      }
    }
  }

  @Test func `old names of the norms are read`() throws {
    _ = try Encoder(open { $0.oldNormNames = true })
  }

  @Test func `an absent folder and a truncated file are said`() throws {
    #expect(throws: ModelError.unreadable(file: "config.json", code: 2)) {
      try Checkpoint(directory: "/nonexistent")
    }
    let folder = try RandomCheckpoint(label: "cut", configJSON: Self.config)
    let path = folder.directory + "/model.safetensors"
    let whole = try Data(contentsOf: URL(filePath: path))
    try whole.dropLast().write(to: URL(filePath: path))
    #expect(throws: ModelError.self) { try Checkpoint(directory: folder.directory) }
    try FileManager.default.removeItem(atPath: path)
    #expect(throws: ModelError.weights(.unreadable(path: path, code: 2))) {
      try Checkpoint(directory: folder.directory)
    }
  }

  @Test func `the text limit is the sentence config's where it is smaller`() throws {
    #expect(try open().textLimit == 10)
    #expect(try open { $0.sentenceConfig = #"{"max_seq_length": 6}"# }.textLimit == 6)
    #expect(try open { $0.sentenceConfig = #"{"max_seq_length": 600}"# }.textLimit == 10)
    #expect(try open { $0.sentenceConfig = #"{"do_lower_case": true}"# }.textLimit == 10)
    for text in ["[", #"{"max_seq_length": 0}"#, #"{"max_seq_length": "x"}"#] {
      #expect(throws: ModelError.self) { try open { $0.sentenceConfig = text } }
    }
  }

  @Test func `the digest covers weights and config`() throws {
    let folder = try RandomCheckpoint(label: "digest", configJSON: Self.config)
    var stream = SHA256Stream()
    for name in ["model.safetensors", "config.json"] {
      stream.update(Array(try Data(contentsOf: URL(filePath: folder.directory + "/" + name))))
    }
    let expected = stream.finalize()
    #expect(try Checkpoint(directory: folder.directory).digest == expected)
    let given = Digest.sha256(of: "given")
    #expect(try Checkpoint(directory: folder.directory, digest: given).digest == given)
  }

  @Test func `sites come layer by layer in the order of their kinds`() throws {
    let checkpoint = try Checkpoint(directory: Fixture.miniLM())
    #expect(checkpoint.sites.count == 36)
    #expect(checkpoint.sites.map(\.index) == Array(0..<36))
    #expect(
      checkpoint.sites[6..<12].map(\.name)
        == [
          "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
          "intermediate.dense", "output.dense",
        ].map { "encoder.layer.1." + $0 })
    #expect(checkpoint.sites[4].inputs == 384 && checkpoint.sites[4].outputs == 1536)
    #expect(checkpoint.textLimit == 256)
    #expect(checkpoint.parameterCount == 22_713_216)
    let file = try SafetensorsFile(path: Fixture.miniLM() + "/model.safetensors")
    let site = checkpoint.sites[35]
    #expect(try checkpoint.weight(of: site).values == file.floats(site.name + ".weight"))
  }
}
