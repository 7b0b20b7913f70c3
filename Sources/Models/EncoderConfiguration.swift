internal import Foundation

/// The activation between a block's two feed-forward projections.
public enum EncoderActivation: String, Sendable, CaseIterable {
  /// x·Φ(x).
  case gelu
  /// The tanh approximation of it, `gelu_new` or `gelu_pytorch_tanh` in a config.
  case geluTanh
  case relu
}

/// What config.json says about an encoder of the BERT family.
public struct EncoderConfiguration: Sendable, Equatable {
  /// D, the width of a token's vector.
  public let hiddenSize: Int
  public let layers: Int
  public let heads: Int
  public let intermediateSize: Int
  /// Tokens that a sequence may have at most.
  public let positions: Int
  public let vocabularySize: Int
  public let typeVocabularySize: Int
  /// Inside the root.
  public let layerNormEpsilon: Float
  public let activation: EncoderActivation
  public let padTokenID: Int
  public let modelType: String

  public var headSize: Int { hiddenSize / heads }

  public init(
    hiddenSize: Int, layers: Int, heads: Int, intermediateSize: Int, positions: Int, vocabularySize: Int,
    typeVocabularySize: Int, layerNormEpsilon: Float = 1e-12, activation: EncoderActivation = .gelu,
    padTokenID: Int = 0, modelType: String = "bert"
  ) {
    self.hiddenSize = hiddenSize
    self.layers = layers
    self.heads = heads
    self.intermediateSize = intermediateSize
    self.positions = positions
    self.vocabularySize = vocabularySize
    self.typeVocabularySize = typeVocabularySize
    self.layerNormEpsilon = layerNormEpsilon
    self.activation = activation
    self.padTokenID = padTokenID
    self.modelType = modelType
  }

  /// Reads config.json.
  /// - Throws: `.malformed`, `.unsupportedArchitecture` for a model of another family, `.unsupportedSetting`,
  ///   `.missingSetting`, `.settingOutOfRange`.
  public init(configJSON: [UInt8]) throws(ModelError) {
    let file = try ConfigJSON.decode(ConfigFile.self, configJSON)
    let family = try file.requireFamily()
    try file.requireEncoder()
    let hiddenSize = try ConfigJSON.size(file.hiddenSize, "hidden_size")
    let heads = try ConfigJSON.size(file.numAttentionHeads, "num_attention_heads")
    guard hiddenSize % heads == 0 else {
      throw .settingOutOfRange(field: "num_attention_heads", value: heads)
    }
    let vocabularySize = try ConfigJSON.size(file.vocabSize, "vocab_size")
    let padTokenID = file.padTokenId ?? 0
    guard (0..<vocabularySize).contains(padTokenID) else {
      throw .settingOutOfRange(field: "pad_token_id", value: padTokenID)
    }
    self.init(
      hiddenSize: hiddenSize, layers: try ConfigJSON.size(file.numHiddenLayers, "num_hidden_layers"),
      heads: heads,
      intermediateSize: try ConfigJSON.size(file.intermediateSize, "intermediate_size"),
      positions: try ConfigJSON.size(file.maxPositionEmbeddings, "max_position_embeddings"),
      vocabularySize: vocabularySize,
      // Absent in a config means transformers' default.
      typeVocabularySize: try ConfigJSON.size(file.typeVocabSize ?? 2, "type_vocab_size"),
      layerNormEpsilon: try file.epsilon(), activation: try file.activation(), padTokenID: padTokenID,
      modelType: family)
  }
}

/// The fields of config.json that decide something here.
private struct ConfigFile: Decodable {
  let modelType: String?
  let architectures: [String]?
  let hiddenSize: Int?
  let numHiddenLayers: Int?
  let numAttentionHeads: Int?
  let intermediateSize: Int?
  let maxPositionEmbeddings: Int?
  let vocabSize: Int?
  let typeVocabSize: Int?
  let layerNormEps: Double?
  let hiddenAct: String?
  let padTokenId: Int?
  let positionEmbeddingType: String?
  let isDecoder: Bool?
  let addCrossAttention: Bool?

  private enum CodingKeys: String, CodingKey {
    case architectures
    case modelType = "model_type"
    case hiddenSize = "hidden_size"
    case numHiddenLayers = "num_hidden_layers"
    case numAttentionHeads = "num_attention_heads"
    case intermediateSize = "intermediate_size"
    case maxPositionEmbeddings = "max_position_embeddings"
    case vocabSize = "vocab_size"
    case typeVocabSize = "type_vocab_size"
    case layerNormEps = "layer_norm_eps"
    case hiddenAct = "hidden_act"
    case padTokenId = "pad_token_id"
    case positionEmbeddingType = "position_embedding_type"
    case isDecoder = "is_decoder"
    case addCrossAttention = "add_cross_attention"
  }

  /// The model type; where a config has none, its architectures decide.
  func requireFamily() throws(ModelError) -> String {
    if let modelType {
      guard modelType == "bert" else { throw .unsupportedArchitecture(modelType) }
      return modelType
    }
    guard let first = architectures?.first else { throw .missingSetting(field: "model_type") }
    guard first.hasPrefix("Bert") else { throw .unsupportedArchitecture(first) }
    return "bert"
  }

  func requireEncoder() throws(ModelError) {
    if let architecture = architectures?.first, !architecture.hasPrefix("Bert") {
      throw .unsupportedArchitecture(architecture)
    }
    if let positionEmbeddingType, positionEmbeddingType != "absolute" {
      throw .unsupportedSetting(field: "position_embedding_type", value: positionEmbeddingType)
    }
    if isDecoder == true { throw .unsupportedSetting(field: "is_decoder", value: "true") }
    if addCrossAttention == true {
      throw .unsupportedSetting(field: "add_cross_attention", value: "true")
    }
  }

  func epsilon() throws(ModelError) -> Float {
    let value = layerNormEps ?? 1e-12
    guard value > 0, value < 1 else {
      throw .unsupportedSetting(field: "layer_norm_eps", value: "\(value)")
    }
    return Float(value)
  }

  func activation() throws(ModelError) -> EncoderActivation {
    switch hiddenAct ?? "gelu" {
    case "gelu", "gelu_python": .gelu
    case "gelu_new", "gelu_pytorch_tanh": .geluTanh
    case "relu": .relu
    case let other: throw .unsupportedSetting(field: "hidden_act", value: other)
    }
  }
}
