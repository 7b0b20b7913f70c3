internal import Safetensors
internal import Tensors

/// A checkpoint's tensors by their canonical names: those of the BERT family with and without the prefix `bert.` and
/// with the old names of the norms' parameters, those of the Llama family with and without the prefix `model.`.
struct WeightMap: Sendable {
  private let files: WeightFiles
  private let isEncoder: Bool
  /// What stands before an encoder's canonical names.
  private let prefix: String

  static let wordEmbeddings = "embeddings.word_embeddings.weight"
  static let positionEmbeddings = "embeddings.position_embeddings.weight"
  static let typeEmbeddings = "embeddings.token_type_embeddings.weight"
  static let embeddingNorm = "embeddings.LayerNorm"

  static let tokens = "model.embed_tokens.weight"
  static let finalNorm = "model.norm.weight"
  static let head = "lm_head.weight"

  init(_ files: WeightFiles, _ configuration: ModelConfiguration) {
    self.files = files
    switch configuration {
    case .encoder:
      isEncoder = true
      prefix = files.tensor("bert." + Self.wordEmbeddings) == nil ? "" : "bert."
    case .decoder:
      isEncoder = false
      prefix = ""
    }
  }

  static func attentionNorm(_ layer: Int) -> String {
    "encoder.layer.\(layer).attention.output.LayerNorm"
  }
  static func outputNorm(_ layer: Int) -> String { "encoder.layer.\(layer).output.LayerNorm" }

  static func inputNorm(_ layer: Int) -> String { "model.layers.\(layer).input_layernorm.weight" }
  static func middleNorm(_ layer: Int) -> String { "model.layers.\(layer).post_attention_layernorm.weight" }
  static func queryNorm(_ layer: Int) -> String { "model.layers.\(layer).self_attn.q_norm.weight" }
  static func keyNorm(_ layer: Int) -> String { "model.layers.\(layer).self_attn.k_norm.weight" }

  /// - Parameter name: without an encoder's prefix.
  func tensor(_ name: String) throws(ModelError) -> StoredTensor {
    if let found = find(name) { return found }
    throw .missingTensor(name: prefix + name)
  }

  /// An encoder's classifier stands outside the prefix; norms of old checkpoints are called gamma and beta.
  private func find(_ name: String) -> StoredTensor? {
    if let found = files.tensor(prefix + name) ?? files.tensor(name) { return found }
    guard isEncoder else {
      return name.hasPrefix("model.") ? files.tensor(String(name.dropFirst(6))) : nil
    }
    if name.hasSuffix("LayerNorm.weight") { return files.tensor(prefix + name.dropLast(6) + "gamma") }
    if name.hasSuffix("LayerNorm.bias") { return files.tensor(prefix + name.dropLast(4) + "beta") }
    return nil
  }

  func tensor(_ name: String, shape: [Int]) throws(ModelError) -> StoredTensor {
    let found = try tensor(name)
    guard found.shape == shape else {
      throw .wrongShape(name: found.name, expected: shape, actual: found.shape)
    }
    guard found.elementType.isFloat else {
      throw .wrongElementType(name: found.name, elementType: found.elementType)
    }
    return found
  }

  func floats(_ tensor: StoredTensor) throws(ModelError) -> [Float] {
    do throws(SafetensorsError) {
      return try tensor.file.floats(tensor.name)
    } catch {
      throw .weights(error)
    }
  }

  func floats(_ name: String) throws(ModelError) -> [Float] { try floats(tensor(name)) }

  /// Packs a matrix `[outputs, inputs]` out of the mapping and gives its pages back.
  func packed(_ name: String, as element: PackedElement = .float32) throws(ModelError) -> PackedWeights {
    let tensor = try tensor(name)
    let inputs = tensor.shape[1]
    let packed = PackedWeights(outputs: tensor.shape[0], inputs: inputs, as: element) { rows, output in
      tensor.copyFloats(elements: rows.lowerBound * inputs..<rows.upperBound * inputs, into: output)
    }
    tensor.releasePages()
    return packed
  }

  /// - Parameter outputs: nil takes the weight's own rows.
  func dense(_ name: String, inputs: Int, outputs: Int?) throws(ModelError) -> DenseWeights? {
    guard isEncoder, let found = find(name + ".weight") else { return nil }
    let rows = outputs ?? found.shape.first ?? 0
    let weight = try floats(tensor(name + ".weight", shape: [rows, inputs]))
    return DenseWeights(
      weight: Matrix(rows: rows, columns: inputs, values: weight),
      bias: try floats(tensor(name + ".bias", shape: [rows])))
  }

  /// Every tensor that the model needs, with its shape.
  private func required(
    _ configuration: ModelConfiguration, _ sites: [Site]
  ) -> [(name: String, shape: [Int])] {
    var list: [(name: String, shape: [Int])]
    switch configuration {
    case .encoder(let configuration): list = Self.required(configuration)
    case .decoder(let configuration): list = Self.required(configuration)
    }
    for site in sites {
      list.append((site.name + ".weight", [site.outputs, site.inputs]))
      if site.hasBias { list.append((site.name + ".bias", [site.outputs])) }
    }
    return list
  }

  private static func required(_ configuration: EncoderConfiguration) -> [(name: String, shape: [Int])] {
    let width = configuration.hiddenSize
    var list: [(name: String, shape: [Int])] = [
      (wordEmbeddings, [configuration.vocabularySize, width]),
      (positionEmbeddings, [configuration.positions, width]),
      (typeEmbeddings, [configuration.typeVocabularySize, width]),
    ]
    var norms = [embeddingNorm]
    for layer in 0..<configuration.layers { norms += [attentionNorm(layer), outputNorm(layer)] }
    for norm in norms { list += [(norm + ".weight", [width]), (norm + ".bias", [width])] }
    return list
  }

  private static func required(_ configuration: DecoderConfiguration) -> [(name: String, shape: [Int])] {
    let width = configuration.hiddenSize
    var list: [(name: String, shape: [Int])] = [(tokens, [configuration.vocabularySize, width])]
    for layer in 0..<configuration.layers {
      list += [(inputNorm(layer), [width]), (middleNorm(layer), [width])]
      if configuration.normsHeads {
        list += [(queryNorm(layer), [configuration.headSize]), (keyNorm(layer), [configuration.headSize])]
      }
    }
    list.append((finalNorm, [width]))
    if !configuration.tiesEmbeddings { list.append((head, [configuration.vocabularySize, width])) }
    return list
  }

  /// Checks every tensor's presence, shape and element type.
  /// - Returns: the element type of the projections.
  func check(_ configuration: ModelConfiguration, _ sites: [Site]) throws(ModelError) -> ElementType {
    for tensor in required(configuration, sites) { _ = try self.tensor(tensor.name, shape: tensor.shape) }
    if isEncoder {
      for (name, outputs) in [("pooler.dense", configuration.hiddenSize), ("classifier", nil)] {
        guard let weight = find(name + ".weight") else { continue }
        let rows = outputs ?? weight.shape.first ?? 0
        _ = try tensor(name + ".weight", shape: [rows, configuration.hiddenSize])
        _ = try tensor(name + ".bias", shape: [rows])
      }
    }
    return try tensor((sites.first?.name ?? "") + ".weight").elementType
  }

  func parameterCount(_ configuration: ModelConfiguration, _ sites: [Site]) -> Int {
    var count = required(configuration, sites).reduce(0) { $0 + $1.shape.reduce(1, *) }
    guard isEncoder else { return count }
    for name in ["pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"] {
      count += find(name)?.elementCount ?? 0
    }
    return count
  }
}
