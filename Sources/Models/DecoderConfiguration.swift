internal import Foundation

/// What config.json says about a decoder of the Llama family.
public struct DecoderConfiguration: Sendable, Equatable {
  public let family: DecoderFamily
  /// D, the width of a token's vector.
  public let hiddenSize: Int
  public let layers: Int
  /// Query heads.
  public let heads: Int
  /// Heads of keys and values; each serves `heads / keyValueHeads` query heads.
  public let keyValueHeads: Int
  /// Columns of a head, even.
  public let headSize: Int
  public let intermediateSize: Int
  /// Tokens that a sequence may have at most.
  public let positions: Int
  public let vocabularySize: Int
  /// Inside the root.
  public let rmsNormEpsilon: Float
  public let rotary: RotaryScaling
  /// Queries and keys are normed head by head before they are turned.
  public let normsHeads: Bool
  /// The projections that have a bias.
  public let biases: Set<SiteKind>
  /// By layer: the tokens that one sees at most, itself included; nil where it sees all before it.
  public let windows: [Int?]
  /// The output head is the token embedding.
  public let tiesEmbeddings: Bool
  /// Tokens that end a text, as the config says; generation_config.json may say otherwise.
  public let endTokenIDs: [Int]

  public var queryWidth: Int { heads * headSize }
  public var keyValueWidth: Int { keyValueHeads * headSize }

  /// Reads config.json.
  /// - Throws: `.malformed`, `.unsupportedArchitecture`, `.unsupportedSetting`, `.missingSetting`,
  ///   `.settingOutOfRange`, each with the name of the thing.
  public init(configJSON: [UInt8]) throws(ModelError) {
    let file = try ConfigJSON.decode(DecoderConfigFile.self, configJSON)
    family = try file.family()
    try file.requireKnownFeatures()
    hiddenSize = try ConfigJSON.size(file.hiddenSize, "hidden_size")
    layers = try ConfigJSON.size(file.layers, "num_hidden_layers")
    heads = try ConfigJSON.size(file.heads, "num_attention_heads")
    keyValueHeads = try ConfigJSON.size(
      file.keyValueHeads ?? (family == .mistral ? 8 : heads), "num_key_value_heads")
    guard heads % keyValueHeads == 0 else {
      throw .settingOutOfRange(field: "num_key_value_heads", value: keyValueHeads)
    }
    if file.headSize == nil, family != .qwen3, hiddenSize % heads != 0 {
      throw .settingOutOfRange(field: "num_attention_heads", value: heads)
    }
    headSize = try ConfigJSON.size(file.headSize ?? (family == .qwen3 ? 128 : hiddenSize / heads), "head_dim")
    guard headSize % 2 == 0, heads * headSize <= ConfigJSON.limitSize else {
      throw .settingOutOfRange(field: "head_dim", value: headSize)
    }
    intermediateSize = try ConfigJSON.size(file.intermediateSize, "intermediate_size")
    positions = try ConfigJSON.size(file.positions, "max_position_embeddings")
    vocabularySize = try ConfigJSON.size(file.vocabularySize, "vocab_size")
    rmsNormEpsilon = Float(
      try ConfigJSON.number(file.rmsNormEpsilon ?? 1e-6, "rms_norm_eps", in: 1e-30...1))
    rotary = try RotaryScaling(
      file.ropeScaling ?? file.ropeParameters, theta: file.ropeTheta, positions: positions)
    normsHeads = family == .qwen3
    biases = file.biases(family)
    windows = try file.windows(family, layers: layers, positions: positions)
    tiesEmbeddings = file.tiesEmbeddings ?? false
    endTokenIDs = file.endTokens?.ids ?? []
  }
}

/// One id or several.
struct TokenIDs: Decodable {
  let ids: [Int]

  init(from decoder: any Swift.Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let one = try? container.decode(Int.self) {
      ids = [one]
    } else {
      ids = try container.decode([Int].self)
    }
  }
}

/// The fields of config.json that decide something here.
private struct DecoderConfigFile: Decodable {
  let modelType: String?
  let architectures: [String]?
  let hiddenSize: Int?
  let layers: Int?
  let heads: Int?
  let keyValueHeads: Int?
  let headSize: Int?
  let intermediateSize: Int?
  let positions: Int?
  let vocabularySize: Int?
  let rmsNormEpsilon: Double?
  let hiddenAct: String?
  let ropeTheta: Double?
  let ropeScaling: RotaryFields?
  let ropeParameters: RotaryFields?
  let partialRotaryFactor: Double?
  let attentionBias: Bool?
  let mlpBias: Bool?
  let slidingWindow: Int?
  let saysSlidingWindow: Bool
  let useSlidingWindow: Bool?
  let maxWindowLayers: Int?
  let layerTypes: [String]?
  let tiesEmbeddings: Bool?
  let endTokens: TokenIDs?
  let quantization: QuantizationFields?

  private enum CodingKeys: String, CodingKey {
    case modelType = "model_type"
    case architectures
    case hiddenSize = "hidden_size"
    case layers = "num_hidden_layers"
    case heads = "num_attention_heads"
    case keyValueHeads = "num_key_value_heads"
    case headSize = "head_dim"
    case intermediateSize = "intermediate_size"
    case positions = "max_position_embeddings"
    case vocabularySize = "vocab_size"
    case rmsNormEpsilon = "rms_norm_eps"
    case hiddenAct = "hidden_act"
    case ropeTheta = "rope_theta"
    case ropeScaling = "rope_scaling"
    case ropeParameters = "rope_parameters"
    case partialRotaryFactor = "partial_rotary_factor"
    case attentionBias = "attention_bias"
    case mlpBias = "mlp_bias"
    case slidingWindow = "sliding_window"
    case useSlidingWindow = "use_sliding_window"
    case maxWindowLayers = "max_window_layers"
    case layerTypes = "layer_types"
    case tiesEmbeddings = "tie_word_embeddings"
    case endTokens = "eos_token_id"
    case quantization = "quantization_config"
  }

  init(from decoder: any Swift.Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    func value<Value: Decodable>(_ key: CodingKeys, _ type: Value.Type = Value.self) throws -> Value? {
      try container.decodeIfPresent(type, forKey: key)
    }
    modelType = try value(.modelType)
    architectures = try value(.architectures)
    hiddenSize = try value(.hiddenSize)
    layers = try value(.layers)
    heads = try value(.heads)
    keyValueHeads = try value(.keyValueHeads)
    headSize = try value(.headSize)
    intermediateSize = try value(.intermediateSize)
    positions = try value(.positions)
    vocabularySize = try value(.vocabularySize)
    rmsNormEpsilon = try value(.rmsNormEpsilon)
    hiddenAct = try value(.hiddenAct)
    ropeTheta = try value(.ropeTheta)
    ropeScaling = try value(.ropeScaling)
    ropeParameters = try value(.ropeParameters)
    partialRotaryFactor = try value(.partialRotaryFactor)
    attentionBias = try value(.attentionBias)
    mlpBias = try value(.mlpBias)
    slidingWindow = try value(.slidingWindow)
    // null means none, but an absent field means the family's default.
    saysSlidingWindow = container.contains(.slidingWindow)
    useSlidingWindow = try value(.useSlidingWindow)
    maxWindowLayers = try value(.maxWindowLayers)
    layerTypes = try value(.layerTypes)
    tiesEmbeddings = try value(.tiesEmbeddings)
    endTokens = try value(.endTokens)
    quantization = try value(.quantization)
  }

  func family() throws(ModelError) -> DecoderFamily {
    guard let family = DecoderFamily(modelType: modelType, architecture: architectures?.first) else {
      throw .unsupportedArchitecture(modelType ?? architectures?.first ?? "")
    }
    if let architecture = architectures?.first, !family.architectures.contains(architecture) {
      throw .unsupportedArchitecture(architecture)
    }
    return family
  }

  func requireKnownFeatures() throws(ModelError) {
    if let hiddenAct, hiddenAct != "silu" {
      throw .unsupportedSetting(field: "hidden_act", value: hiddenAct)
    }
    if let partialRotaryFactor, partialRotaryFactor != 1 {
      throw .unsupportedSetting(field: "partial_rotary_factor", value: "\(partialRotaryFactor)")
    }
    if let quantization {
      throw .unsupportedSetting(field: "quantization_config", value: quantization.method ?? "unnamed")
    }
  }

  func biases(_ family: DecoderFamily) -> Set<SiteKind> {
    let attention: Set<SiteKind> = [.query, .key, .value, .attentionOutput]
    switch family {
    case .llama:
      return (attentionBias == true ? attention : [])
        .union(mlpBias == true ? [.gate, .intermediate, .output] : [])
    case .mistral: return []
    case .qwen2: return [.query, .key, .value]
    case .qwen3: return attentionBias == true ? attention : []
    }
  }

  /// A window as long as the positions hides nothing.
  func windows(_ family: DecoderFamily, layers: Int, positions: Int) throws(ModelError) -> [Int?] {
    var window: Int?
    switch family {
    case .llama: window = nil
    case .mistral: window = saysSlidingWindow ? slidingWindow : 4096
    case .qwen2, .qwen3:
      window = useSlidingWindow == true ? (saysSlidingWindow ? slidingWindow : 4096) : nil
    }
    if let size = window {
      window = try ConfigJSON.size(size, "sliding_window") < positions ? size : nil
    }
    if let layerTypes {
      guard layerTypes.count == layers else {
        throw .settingOutOfRange(field: "layer_types", value: layerTypes.count)
      }
      for type in layerTypes where type != "full_attention" && type != "sliding_attention" {
        throw .unsupportedSetting(field: "layer_types", value: type)
      }
    }
    return (0..<layers).map { layer in
      switch family {
      case .llama, .mistral: window
      case .qwen2, .qwen3:
        (layerTypes.map { $0[layer] == "sliding_attention" } ?? (layer >= maxWindowLayers ?? 28))
          ? window : nil
      }
    }
  }
}

private struct QuantizationFields: Decodable {
  let method: String?

  private enum CodingKeys: String, CodingKey { case method = "quant_method" }
}
