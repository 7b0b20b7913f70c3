public import Digests
internal import Foundation
public import Safetensors
public import Tensors

/// A dense layer that a checkpoint brings along: y = W·x + bias.
public struct DenseWeights: Sendable, Equatable {
  /// `[outputs, inputs]`.
  public let weight: Matrix
  /// `[outputs]`.
  public let bias: [Float]

  public init(weight: Matrix, bias: [Float]) {
    self.weight = weight
    self.bias = bias
  }
}

/// A model folder of the BERT or the Llama family: config.json and the mapped weights, in one file or in shards, every
/// tensor checked by name.
///
/// An `Encoder` or a `Decoder` is built from it; subspaces stream its weights.
public final class Checkpoint: Sendable {
  public let directory: String
  public let configuration: ModelConfiguration
  public let sites: [Site]
  /// Element type of the projections.
  public let elementType: ElementType
  /// SHA-256 of the weight files in the order of their names, followed by config.json.
  public let digest: Digest
  /// Tokens that a text may have, special tokens included: `max_seq_length` of sentence_bert_config.json where that
  /// file is, at most the config's positions.
  public let textLimit: Int
  /// Tokens that end a generated text: `eos_token_id` of generation_config.json, else of config.json.
  public let endTokenIDs: [Int]
  let weights: WeightMap

  /// - Parameters:
  ///   - directory: a folder as Hugging Face lays it out.
  ///   - digest: the folder's digest where it is known already; nil reads the whole file for it.
  /// - Throws: `.unreadable`, what `ModelConfiguration` throws, `.weights`, `.shard`, `.missingTensor`, `.wrongShape`,
  ///   `.wrongElementType`.
  public init(directory: String, digest: Digest? = nil) throws(ModelError) {
    self.directory = directory
    let config = try FolderFile.read("config.json", in: directory)
    configuration = try ModelConfiguration(configJSON: config)
    sites = configuration.sites
    let files = try WeightFiles(directory: directory)
    weights = WeightMap(files, configuration)
    elementType = try weights.check(configuration, sites)
    textLimit = try Self.textLimit(in: directory, positions: configuration.positions)
    endTokenIDs = try Self.endTokenIDs(in: directory, configuration)
    self.digest = digest ?? files.digest(config)
  }

  /// The tensors' element type by its name in the file, such as `F32`.
  public var elementTypeName: String { elementType.rawValue }

  /// Elements of all tensors that the model has, the checkpoint's own pooler and classifier included.
  public var parameterCount: Int { weights.parameterCount(configuration, sites) }

  /// W `[outputs, inputs]` of a site as float32, read from the mapping.
  /// - Throws: nothing once the checkpoint is open; the type is for the callers' chains.
  public func weight(of site: Site) throws(ModelError) -> Matrix {
    let tensor = try weights.tensor(site.name + ".weight")
    let values = try weights.floats(tensor)
    tensor.releasePages()
    return Matrix(rows: site.outputs, columns: site.inputs, values: values)
  }

  /// `pooler.dense`, nil where the checkpoint has none.
  public func pooler() throws(ModelError) -> DenseWeights? {
    let width = configuration.hiddenSize
    return try weights.dense("pooler.dense", inputs: width, outputs: width)
  }

  /// `classifier`, nil where the checkpoint has none.
  public func classifier() throws(ModelError) -> DenseWeights? {
    try weights.dense("classifier", inputs: configuration.hiddenSize, outputs: nil)
  }

  private static func textLimit(in directory: String, positions: Int) throws(ModelError) -> Int {
    struct SentenceConfig: Decodable {
      let limit: Int?
      enum CodingKeys: String, CodingKey { case limit = "max_seq_length" }
    }
    let name = "sentence_bert_config.json"
    guard let bytes = try FolderFile.readIfPresent(name, in: directory) else { return positions }
    let config = try ConfigJSON.decode(SentenceConfig.self, bytes, file: name)
    guard let length = config.limit else { return positions }
    guard length >= 1 else { throw .malformed(file: name, field: "max_seq_length") }
    return min(length, positions)
  }

  private static func endTokenIDs(
    in directory: String, _ configuration: ModelConfiguration
  ) throws(ModelError) -> [Int] {
    struct GenerationConfig: Decodable {
      let endTokens: TokenIDs?
      enum CodingKeys: String, CodingKey { case endTokens = "eos_token_id" }
    }
    guard case .decoder(let decoder) = configuration else { return [] }
    let name = "generation_config.json"
    guard let bytes = try FolderFile.readIfPresent(name, in: directory) else { return decoder.endTokenIDs }
    let config = try ConfigJSON.decode(GenerationConfig.self, bytes, file: name)
    return config.endTokens?.ids ?? decoder.endTokenIDs
  }
}
