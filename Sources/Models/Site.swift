/// The six projections of a block that an adapter may change.
public enum SiteKind: String, Sendable, CaseIterable, Codable {
  case query
  case key
  case value
  case attentionOutput = "attention.output"
  case intermediate
  case output

  /// The module's name inside a block of the checkpoint.
  public var path: String {
    switch self {
    case .query: "attention.self.query"
    case .key: "attention.self.key"
    case .value: "attention.self.value"
    case .attentionOutput: "attention.output.dense"
    case .intermediate: "intermediate.dense"
    case .output: "output.dense"
    }
  }
}

/// One projection of one block.
public struct Site: Hashable, Sendable {
  /// The checkpoint's name without the prefix `bert.` and without `.weight`: "encoder.layer.0.attention.self.query".
  public let name: String
  /// Position in the encoder's sites: layer by layer, in a layer in the order of `SiteKind.allCases`.
  public let index: Int
  public let layer: Int
  public let kind: SiteKind
  /// dIn.
  public let inputs: Int
  /// dOut.
  public let outputs: Int

  public init(name: String, index: Int, layer: Int, kind: SiteKind, inputs: Int, outputs: Int) {
    self.name = name
    self.index = index
    self.layer = layer
    self.kind = kind
    self.inputs = inputs
    self.outputs = outputs
  }

  /// All sites of an encoder, in the order of their indices.
  public static func all(of configuration: EncoderConfiguration) -> [Site] {
    var sites: [Site] = []
    for layer in 0..<configuration.layers {
      for kind in SiteKind.allCases {
        let (inputs, outputs) =
          switch kind {
          case .query, .key, .value, .attentionOutput:
            (configuration.hiddenSize, configuration.hiddenSize)
          case .intermediate: (configuration.hiddenSize, configuration.intermediateSize)
          case .output: (configuration.intermediateSize, configuration.hiddenSize)
          }
        sites.append(
          Site(
            name: "encoder.layer.\(layer).\(kind.path)", index: sites.count, layer: layer, kind: kind,
            inputs: inputs, outputs: outputs))
      }
    }
    return sites
  }
}
