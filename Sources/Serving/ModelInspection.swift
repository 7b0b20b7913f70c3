internal import Models
internal import Tokenizers

/// What a model folder holds, without a daemon.
public struct ModelInspection: Sendable {
  public let digest: String
  public let architecture: String
  public let parameters: Int
  public let elementType: String
  public let width: Int
  public let layers: Int
  public let heads: Int
  /// Tokens that a text may have.
  public let contextTokens: Int
  public let vocabulary: Int
  public let sites: [(name: String, inputs: Int, outputs: Int)]
  private let modelSites: [Site]
  private let family: ModelFamily

  /// Reads the whole folder, so that what the daemon would refuse is refused here.
  ///
  /// - Throws: `.validation` naming the fault.
  public init(directory: String) throws(ServingError) {
    self.init(try ModelFolder(directory: directory))
  }

  init(_ folder: ModelFolder) {
    let checkpoint = folder.checkpoint
    vocabulary = folder.tokenizer.vocabularySize
    let shape = checkpoint.configuration
    digest = "\(checkpoint.digest)"
    architecture = shape.modelType
    parameters = checkpoint.parameterCount
    elementType = checkpoint.elementTypeName
    width = shape.hiddenSize
    layers = shape.layers
    heads = shape.heads
    contextTokens = checkpoint.textLimit
    modelSites = checkpoint.sites
    family = shape.family
    sites = modelSites.map { ($0.name, $0.inputs, $0.outputs) }
  }

  /// Bytes of one more task at a rank: on query and value, on the whole attention, on all sites.
  public func taskBytes(rank: Int) -> [TaskBytes] { TaskBytes.all(modelSites, family, rank: rank) }
}
