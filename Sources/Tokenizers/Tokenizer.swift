/// A tokenizer as `tokenizer.json` describes it; gives the ids that the `tokenizers` library gives.
///
/// WordPiece with BERT's normalisation and splitting; other components are refused when the file is read.
public struct Tokenizer: Sendable {
  /// The ids of the tokens with a role, by the names BERT vocabularies give them; nil where the file lacks one.
  public struct Specials: Sendable, Equatable {
    /// `[CLS]`
    public let classification: Int32?
    /// `[SEP]`
    public let separator: Int32?
    /// `[PAD]`
    public let padding: Int32?
    /// The model's token for a word it cannot spell.
    public let unknown: Int32?
    /// `[MASK]`
    public let mask: Int32?
  }

  public let specials: Specials
  /// One more than the greatest id, added tokens included.
  public let vocabularySize: Int

  private let parts: TokenizerFile

  /// Reads a `tokenizer.json`; its own truncation and padding are ignored.
  ///
  /// - Throws: `TokenizerError`: not JSON, a member missing or of a wrong type, a component that is not supported.
  public init(json: [UInt8]) throws(TokenizerError) {
    let parts = try TokenizerFile(json: json)
    self.parts = parts
    vocabularySize = parts.addedIDs.values.reduce(parts.model.vocabulary.count) { max($0, Int($1) + 1) }
    func named(_ name: StaticString) -> Int32? {
      let bytes = Array(UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
      return parts.addedIDs[bytes] ?? parts.model.vocabulary.id(of: bytes)
    }
    specials = Specials(
      classification: named("[CLS]"), separator: named("[SEP]"), padding: named("[PAD]"),
      unknown: parts.model.unknown, mask: named("[MASK]"))
  }

  /// Encodes a text, or two as a pair, with the special tokens of the file's template.
  ///
  /// - Parameter limit: greatest number of tokens, special tokens included; of a pair the longer text is cut first.
  ///   A limit below the number of special tokens leaves only those. nil: no limit.
  /// - Complexity: linear in the bytes of the text; the whole text is read whatever the limit, so that
  ///   `untruncatedCount` is known.
  public func encode(_ text: String, pair: String? = nil, limit: Int?) -> Encoding {
    var texts = [tokenise(text)]
    if let pair { texts.append(tokenise(pair)) }
    return parts.postProcessor.assemble(texts, limit: limit)
  }

  /// The number of tokens `encode` gives without a limit.
  public func count(_ text: String, pair: String? = nil) -> Int {
    encode(text, pair: pair, limit: 0).untruncatedCount
  }

  /// The token of an id; nil where the id is not used.
  public func token(_ id: Int32) -> String? {
    if let bytes = parts.addedTexts[id] { return String(decoding: bytes, as: UTF8.self) }
    return parts.model.vocabulary.token(id).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The id of a token, compared byte for byte.
  public func id(of token: String) -> Int32? {
    parts.addedIDs[Array(token.utf8)] ?? parts.model.vocabulary.id(of: token.utf8)
  }

  private func tokenise(_ text: String) -> TokenisedText {
    var text = text
    return text.withUTF8 { bytes in
      var result = TokenisedText()
      result.ids.reserveCapacity(bytes.count / 4 + 8)
      result.offsets.reserveCapacity(bytes.count / 4 + 8)
      parts.model.withMatcher { matcher in
        parts.added.split(bytes) { id, range in
          if let id {
            result.ids.append(id)
            result.offsets.append(range)
          } else {
            tokenise(bytes, range, matcher, into: &result)
          }
        }
      }
      return result
    }
  }

  /// A stretch of the text without added tokens of the unnormalised kind.
  private func tokenise(
    _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ matcher: WordPiece.Matcher,
    into result: inout TokenisedText
  ) {
    let output = parts.normalizer.normalise(text, range)
    output.bytes.withUnsafeBufferPointer { bytes in
      parts.addedNormalised.split(bytes) { id, range in
        if let id {
          result.ids.append(id)
          result.offsets.append(output.original(range))
          return
        }
        BertPreTokenizer.split(UnsafeBufferPointer(rebasing: bytes[range])) { word in
          let start = range.lowerBound + word.lowerBound
          matcher.tokenise(
            UnsafeBufferPointer(rebasing: bytes[start..<range.lowerBound + word.upperBound]), base: start,
            of: output, into: &result)
        }
      }
    }
  }
}
