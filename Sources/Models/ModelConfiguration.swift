/// What config.json says about a model that we have.
public enum ModelConfiguration: Sendable, Equatable {
  /// The BERT family.
  case encoder(EncoderConfiguration)
  /// The Llama family.
  case decoder(DecoderConfiguration)

  /// Reads config.json.
  /// - Throws: `.unsupportedArchitecture` for a family that we do not have, else what the family's reader throws.
  public init(configJSON: [UInt8]) throws(ModelError) {
    let family = try ConfigJSON.decode(FamilyFields.self, configJSON)
    if DecoderFamily(modelType: family.modelType, architecture: family.architectures?.first) != nil {
      self = .decoder(try DecoderConfiguration(configJSON: configJSON))
    } else {
      self = .encoder(try EncoderConfiguration(configJSON: configJSON))
    }
  }

  public var modelType: String {
    switch self {
    case .encoder(let configuration): configuration.modelType
    case .decoder(let configuration): configuration.family.rawValue
    }
  }

  /// D, the width of a token's vector.
  public var hiddenSize: Int {
    switch self {
    case .encoder(let configuration): configuration.hiddenSize
    case .decoder(let configuration): configuration.hiddenSize
    }
  }

  public var layers: Int {
    switch self {
    case .encoder(let configuration): configuration.layers
    case .decoder(let configuration): configuration.layers
    }
  }

  public var heads: Int {
    switch self {
    case .encoder(let configuration): configuration.heads
    case .decoder(let configuration): configuration.heads
    }
  }

  /// Tokens that a sequence may have at most.
  public var positions: Int {
    switch self {
    case .encoder(let configuration): configuration.positions
    case .decoder(let configuration): configuration.positions
    }
  }

  public var vocabularySize: Int {
    switch self {
    case .encoder(let configuration): configuration.vocabularySize
    case .decoder(let configuration): configuration.vocabularySize
    }
  }

  var sites: [Site] {
    switch self {
    case .encoder(let configuration): Site.all(of: configuration)
    case .decoder(let configuration): Site.all(of: configuration)
    }
  }
}

/// The fields that name the family.
struct FamilyFields: Decodable {
  let modelType: String?
  let architectures: [String]?

  private enum CodingKeys: String, CodingKey {
    case modelType = "model_type"
    case architectures
  }
}

/// The architectures of the Llama family that we have. SmolLM2 calls itself llama.
public enum DecoderFamily: String, Sendable, CaseIterable {
  case llama
  case mistral
  case qwen2
  case qwen3

  /// What its classes are called in `architectures`.
  private var className: String {
    switch self {
    case .llama: "Llama"
    case .mistral: "Mistral"
    case .qwen2: "Qwen2"
    case .qwen3: "Qwen3"
    }
  }

  /// Classes whose weights are a decoder and nothing else.
  var architectures: [String] { [className + "ForCausalLM", className + "Model"] }

  /// The model type decides; where a config has none, its architecture does.
  init?(modelType: String?, architecture: String?) {
    let found =
      modelType.map { DecoderFamily(rawValue: $0) }
      ?? Self.allCases.first { family in architecture.map(family.architectures.contains) ?? false }
    guard let found else { return nil }
    self = found
  }
}
