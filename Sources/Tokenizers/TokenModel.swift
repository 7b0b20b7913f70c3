/// What makes tokens of words.
enum TokenModel: Sendable {
  case wordPiece(WordPiece)
  case bytePairs(BytePairEncoding)
  case unigram(Unigram)

  var vocabulary: Vocabulary {
    switch self {
    case .wordPiece(let model): model.vocabulary
    case .bytePairs(let model): model.vocabulary
    case .unigram(let model): model.vocabulary
    }
  }

  /// The token for what cannot be spelled.
  var unknown: Int32? {
    switch self {
    case .wordPiece(let model): model.unknown
    case .bytePairs(let model): model.options.unknown
    case .unigram(let model): model.unknown
    }
  }
}
