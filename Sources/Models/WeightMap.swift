internal import Safetensors
internal import Tensors

/// Names of the BERT family's tensors in a checkpoint, with and without the prefix `bert.`, and with the old names
/// of the norms' parameters.
struct WeightMap: Sendable {
  let file: SafetensorsFile
  let prefix: String

  static let wordEmbeddings = "embeddings.word_embeddings.weight"
  static let positionEmbeddings = "embeddings.position_embeddings.weight"
  static let typeEmbeddings = "embeddings.token_type_embeddings.weight"
  static let embeddingNorm = "embeddings.LayerNorm"

  init(_ file: SafetensorsFile) {
    self.file = file
    prefix = file.entry("bert." + Self.wordEmbeddings) == nil ? "" : "bert."
  }

  static func attentionNorm(_ layer: Int) -> String {
    "encoder.layer.\(layer).attention.output.LayerNorm"
  }
  static func outputNorm(_ layer: Int) -> String { "encoder.layer.\(layer).output.LayerNorm" }

  /// - Parameter name: without prefix.
  func entry(_ name: String) throws(ModelError) -> TensorEntry {
    if let found = find(name) { return found }
    throw .missingTensor(name: prefix + name)
  }

  /// The classifier stands outside the prefix; norms of old checkpoints are called gamma and beta.
  private func find(_ name: String) -> TensorEntry? {
    if let found = file.entry(prefix + name) ?? file.entry(name) { return found }
    if name.hasSuffix("LayerNorm.weight") { return file.entry(prefix + name.dropLast(6) + "gamma") }
    if name.hasSuffix("LayerNorm.bias") { return file.entry(prefix + name.dropLast(4) + "beta") }
    return nil
  }

  func entry(_ name: String, shape: [Int]) throws(ModelError) -> TensorEntry {
    let found = try entry(name)
    guard found.shape == shape else {
      throw .wrongShape(name: found.name, expected: shape, actual: found.shape)
    }
    guard found.elementType.isFloat else {
      throw .wrongElementType(name: found.name, elementType: found.elementType)
    }
    return found
  }

  func floats(_ entry: TensorEntry) throws(ModelError) -> [Float] {
    do throws(SafetensorsError) {
      return try file.floats(entry.name)
    } catch {
      throw .weights(error)
    }
  }

  /// - Parameter outputs: nil takes the bias's own length.
  func dense(_ name: String, inputs: Int, outputs: Int?) throws(ModelError) -> DenseWeights? {
    guard find(name + ".weight") != nil else { return nil }
    let rows = outputs ?? find(name + ".weight")?.shape.first ?? 0
    let weight = try floats(entry(name + ".weight", shape: [rows, inputs]))
    return DenseWeights(
      weight: Matrix(rows: rows, columns: inputs, values: weight),
      bias: try floats(entry(name + ".bias", shape: [rows])))
  }

  /// Every tensor that the encoder needs, with its shape.
  private func required(
    _ configuration: EncoderConfiguration, _ sites: [Site]
  ) -> [(name: String, shape: [Int])] {
    let width = configuration.hiddenSize
    var list: [(name: String, shape: [Int])] = [
      (Self.wordEmbeddings, [configuration.vocabularySize, width]),
      (Self.positionEmbeddings, [configuration.positions, width]),
      (Self.typeEmbeddings, [configuration.typeVocabularySize, width]),
    ]
    var norms = [Self.embeddingNorm]
    for layer in 0..<configuration.layers { norms += [Self.attentionNorm(layer), Self.outputNorm(layer)] }
    for norm in norms { list += [(norm + ".weight", [width]), (norm + ".bias", [width])] }
    for site in sites {
      list += [(site.name + ".weight", [site.outputs, site.inputs]), (site.name + ".bias", [site.outputs])]
    }
    return list
  }

  /// Checks every tensor's presence, shape and element type.
  /// - Returns: the element type of the projections.
  func check(_ configuration: EncoderConfiguration, _ sites: [Site]) throws(ModelError) -> ElementType {
    for tensor in required(configuration, sites) { _ = try entry(tensor.name, shape: tensor.shape) }
    for (name, outputs) in [("pooler.dense", configuration.hiddenSize), ("classifier", nil)] {
      guard let weight = find(name + ".weight") else { continue }
      let rows = outputs ?? weight.shape.first ?? 0
      _ = try entry(name + ".weight", shape: [rows, configuration.hiddenSize])
      _ = try entry(name + ".bias", shape: [rows])
    }
    return try entry((sites.first?.name ?? "") + ".weight").elementType
  }

  func parameterCount(_ configuration: EncoderConfiguration, _ sites: [Site]) -> Int {
    var count = required(configuration, sites).reduce(0) { $0 + $1.shape.reduce(1, *) }
    for name in ["pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"] {
      count += find(name)?.elementCount ?? 0
    }
    return count
  }
}
