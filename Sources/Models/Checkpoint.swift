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

/// A model folder of the BERT family: config.json and the mapped model.safetensors, every tensor checked by name.
///
/// An `Encoder` is built from it; subspaces stream its weights.
public final class Checkpoint: Sendable {
  public let directory: String
  public let configuration: EncoderConfiguration
  public let sites: [Site]
  /// Element type of the projections.
  public let elementType: ElementType
  /// SHA-256 of model.safetensors followed by config.json.
  public let digest: Digest
  /// Tokens that a text may have, special tokens included: `max_seq_length` of sentence_bert_config.json where that
  /// file is, at most the config's positions.
  public let textLimit: Int
  let weights: WeightMap

  /// - Parameters:
  ///   - directory: a folder as Hugging Face lays it out.
  ///   - digest: the folder's digest where it is known already; nil reads the whole file for it.
  /// - Throws: `.unreadable`, what `EncoderConfiguration` throws, `.weights`, `.missingTensor`, `.wrongShape`,
  ///   `.wrongElementType`.
  public init(directory: String, digest: Digest? = nil) throws(ModelError) {
    self.directory = directory
    let config = try Self.read("config.json", in: directory)
    configuration = try EncoderConfiguration(configJSON: config)
    sites = Site.all(of: configuration)
    do throws(SafetensorsError) {
      weights = WeightMap(try SafetensorsFile(path: directory + "/model.safetensors"))
    } catch {
      throw .weights(error)
    }
    elementType = try weights.check(configuration, sites)
    textLimit = try Self.textLimit(in: directory, positions: configuration.positions)
    self.digest = digest ?? Self.digest(of: weights.file, config)
  }

  /// The tensors' element type by its name in the file, such as `F32`.
  public var elementTypeName: String { elementType.rawValue }

  /// Elements of all tensors that the model has, the checkpoint's own pooler and classifier included.
  public var parameterCount: Int { weights.parameterCount(configuration, sites) }

  /// W `[outputs, inputs]` of a site as float32, read from the mapping.
  /// - Throws: nothing once the checkpoint is open; the type is for the callers' chains.
  public func weight(of site: Site) throws(ModelError) -> Matrix {
    let entry = try weights.entry(site.name + ".weight")
    let values = try weights.floats(entry)
    weights.file.releasePages(of: entry)
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

  private static func digest(of file: SafetensorsFile, _ config: [UInt8]) -> Digest {
    var stream = SHA256Stream()
    file.withFileBytes { stream.update($0) }
    file.releaseAllPages()
    stream.update(config)
    return stream.finalize()
  }

  private static func textLimit(in directory: String, positions: Int) throws(ModelError) -> Int {
    struct SentenceConfig: Decodable {
      let limit: Int?
      enum CodingKeys: String, CodingKey { case limit = "max_seq_length" }
    }
    let name = "sentence_bert_config.json"
    let bytes: [UInt8]
    do throws(ModelError) {
      bytes = try read(name, in: directory)
    } catch .unreadable(_, ENOENT) {
      return positions
    }
    let config: SentenceConfig
    do {
      config = try JSONDecoder().decode(SentenceConfig.self, from: Data(bytes))
    } catch {
      throw .malformed(file: name, field: nil)
    }
    guard let length = config.limit else { return positions }
    guard length >= 1 else { throw .malformed(file: name, field: "max_seq_length") }
    return min(length, positions)
  }

  /// A small file of the folder.
  private static func read(_ name: String, in directory: String) throws(ModelError) -> [UInt8] {
    guard let file = fopen(directory + "/" + name, "rbe") else {
      throw .unreadable(file: name, code: errno)
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      bytes += chunk[..<count]
      guard bytes.count <= 1 << 24 else { throw .malformed(file: name, field: nil) }
    }
    // A folder opens like a file and fails at its first read.
    guard ferror(file) == 0 else { throw .unreadable(file: name, code: errno) }
    return bytes
  }
}
