/// A tokenizer as `tokenizer.json` describes it; gives the ids that the `tokenizers` library gives.
public struct Tokenizer: Sendable {
  /// The ids of the tokens with a role, where the file has them.
  public struct Specials: Sendable, Equatable {
    public let classification: Int32?
    public let separator: Int32?
    public let padding: Int32?
    public let unknown: Int32?
    public let mask: Int32?
  }

  public let specials: Specials
  /// One more than the greatest id, added tokens included.
  public let vocabularySize: Int

  /// Reads a `tokenizer.json`; its own truncation and padding are ignored.
  ///
  /// - Throws: `TokenizerError`: not JSON, a member missing or of a wrong type, a component that is not supported.
  public init(json: [UInt8]) throws(TokenizerError) {
    specials = Specials(classification: nil, separator: nil, padding: nil, unknown: nil, mask: nil)
    vocabularySize = 0
    throw .missing(path: "model")
  }

  /// Encodes a text, or two as a pair, with the special tokens of the file's template.
  ///
  /// - Parameter limit: greatest number of tokens, special tokens included; of a pair the longer text is cut first.
  ///   A limit below the number of special tokens leaves only those. nil: no limit.
  public func encode(_ text: String, pair: String? = nil, limit: Int?) -> Encoding {
    Encoding(ids: [], typeIDs: [], offsets: [], untruncatedCount: 0)
  }

  /// The number of tokens `encode` gives without a limit.
  public func count(_ text: String, pair: String? = nil) -> Int { 0 }

  /// The token of an id; nil where the id is not used.
  public func token(_ id: Int32) -> String? { nil }

  /// The id of a token, compared byte for byte.
  public func id(of token: String) -> Int32? { nil }
}
