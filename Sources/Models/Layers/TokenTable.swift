internal import Safetensors
internal import Tensors

/// The vectors of a vocabulary, one row a token.
enum TokenTable: Sendable {
  /// Read from the mapped file row by row, rounded where the packed weights are bfloat16: the system's page cache, not
  /// our memory.
  case mapped(StoredTensor, as: PackedElement)
  /// The rows of the output head, which is the same matrix in a model with tied embeddings: held once.
  case packed(PackedWeights)

  var vocabulary: Int {
    switch self {
    case .mapped(let tensor, _): tensor.shape[0]
    case .packed(let weights): weights.outputs
    }
  }

  /// row = the token's vector.   row `[D]`; ids are inside the vocabulary.
  func copyRow(_ id: Int32, into row: UnsafeMutablePointer<Float>) {
    let id = Int(id)
    precondition(id >= 0 && id < vocabulary, "a token id is outside the vocabulary")
    switch self {
    case .mapped(let tensor, let element):
      let width = tensor.shape[1]
      tensor.copyFloats(elements: id * width..<(id + 1) * width, into: row)
      element.round(row, count: width)
    case .packed(let weights):
      weights.copyRow(id, into: row)
    }
  }
}
