/// The projections of a block that an adapter may change. A kind is a role, so `query` and `value` mean the same in
/// encoders and decoders.
public enum SiteKind: String, Sendable, CaseIterable, Codable {
  case query
  case key
  case value
  case attentionOutput = "attention.output"
  /// Out of the model's width: a decoder's `up_proj`.
  case intermediate
  /// Back into the model's width: a decoder's `down_proj`.
  case output
  /// The gate beside `intermediate`, which decoders have.
  case gate

  /// Whether two kinds of a block read one input; such kinds are neighbours.
  fileprivate func readsInput(of other: SiteKind) -> Bool { input == other.input }

  private var input: Int {
    switch self {
    case .query, .key, .value: 0
    case .attentionOutput: 1
    case .gate, .intermediate: 2
    case .output: 3
    }
  }

  /// A block's sites in the order of their indices.
  public static let encoder: [SiteKind] = [.query, .key, .value, .attentionOutput, .intermediate, .output]
  public static let decoder: [SiteKind] = [
    .query, .key, .value, .attentionOutput, .gate, .intermediate, .output,
  ]

  /// The module's name inside a block of a BERT checkpoint; nil for what BERT does not have.
  var encoderPath: String? {
    switch self {
    case .query: "attention.self.query"
    case .key: "attention.self.key"
    case .value: "attention.self.value"
    case .attentionOutput: "attention.output.dense"
    case .intermediate: "intermediate.dense"
    case .output: "output.dense"
    case .gate: nil
    }
  }

  /// The module's name inside a block of a checkpoint of the Llama family.
  var decoderPath: String {
    switch self {
    case .query: "self_attn.q_proj"
    case .key: "self_attn.k_proj"
    case .value: "self_attn.v_proj"
    case .attentionOutput: "self_attn.o_proj"
    case .gate: "mlp.gate_proj"
    case .intermediate: "mlp.up_proj"
    case .output: "mlp.down_proj"
    }
  }
}

/// One projection of one block.
public struct Site: Hashable, Sendable {
  /// The checkpoint's name without the prefix `bert.` and without `.weight`: "encoder.layer.0.attention.self.query",
  /// "model.layers.0.self_attn.q_proj".
  public let name: String
  /// Position in the model's sites: layer by layer, in a layer in the order of `SiteKind.encoder` or `.decoder`.
  public let index: Int
  public let layer: Int
  public let kind: SiteKind
  /// dIn.
  public let inputs: Int
  /// dOut.
  public let outputs: Int
  public let hasBias: Bool

  public init(
    name: String, index: Int, layer: Int, kind: SiteKind, inputs: Int, outputs: Int, hasBias: Bool = true
  ) {
    self.name = name
    self.index = index
    self.layer = layer
    self.kind = kind
    self.inputs = inputs
    self.outputs = outputs
    self.hasBias = hasBias
  }

  /// Whether the model gives both the same input.
  public func readsInput(of other: Site) -> Bool { layer == other.layer && kind.readsInput(of: other.kind) }

  /// All sites of an encoder, in the order of their indices.
  public static func all(of configuration: EncoderConfiguration) -> [Site] {
    var sites: [Site] = []
    for layer in 0..<configuration.layers {
      for kind in SiteKind.encoder {
        guard let path = kind.encoderPath else { continue }
        let (inputs, outputs) =
          switch kind {
          case .intermediate: (configuration.hiddenSize, configuration.intermediateSize)
          case .output: (configuration.intermediateSize, configuration.hiddenSize)
          default: (configuration.hiddenSize, configuration.hiddenSize)
          }
        sites.append(
          Site(
            name: "encoder.layer.\(layer).\(path)", index: sites.count, layer: layer, kind: kind,
            inputs: inputs, outputs: outputs))
      }
    }
    return sites
  }

  /// All sites of a decoder, in the order of their indices.
  public static func all(of configuration: DecoderConfiguration) -> [Site] {
    let (width, inner) = (configuration.hiddenSize, configuration.intermediateSize)
    var sites: [Site] = []
    for layer in 0..<configuration.layers {
      for kind in SiteKind.decoder {
        let (inputs, outputs) =
          switch kind {
          case .query: (width, configuration.queryWidth)
          case .key, .value: (width, configuration.keyValueWidth)
          case .attentionOutput: (configuration.queryWidth, width)
          case .gate, .intermediate: (width, inner)
          case .output: (inner, width)
          }
        sites.append(
          Site(
            name: "model.layers.\(layer).\(kind.decoderPath)", index: sites.count, layer: layer, kind: kind,
            inputs: inputs, outputs: outputs, hasBias: configuration.biases.contains(kind)))
      }
    }
    return sites
  }
}
