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

  /// Reads the whole folder, so that what the daemon would refuse is refused here.
  ///
  /// - Throws: `.validation` naming the fault.
  public init(directory: String) throws(ServingError) {
    let folder = try ModelFolder(directory: directory)
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
    sites = checkpoint.sites.map { ($0.name, $0.inputs, $0.outputs) }
  }
}
