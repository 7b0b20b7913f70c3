/// A tokenizer as `tokenizer.json` describes it; gives the ids that the `tokenizers` library gives.
///
/// WordPiece, byte-pair encoding (of bytes, or of characters with bytes to fall back on) and Unigram; a component, a
/// setting or an expression that is not known is refused by name when the file is read.
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

  /// Encodes a text, or two as a pair.
  ///
  /// - Parameters:
  ///   - limit: greatest number of tokens, special tokens included; of a pair the longer text is cut first. A limit
  ///     below the number of special tokens leaves only those. nil: no limit.
  ///   - addingSpecials: with the special tokens of the file's template; not where the text, such as a rendered
  ///     conversation, has its own.
  /// - Complexity: n log n in the bytes of the longest word, linear in all else; the whole text is read whatever the
  ///   limit, so that `untruncatedCount` is known.
  public func encode(
    _ text: String, pair: String? = nil, limit: Int?, addingSpecials: Bool = true
  ) -> Encoding {
    var texts = [tokenise(text)]
    if let pair { texts.append(tokenise(pair)) }
    return parts.postProcessor.assemble(texts, limit: limit, addingSpecials: addingSpecials)
  }

  /// The number of tokens `encode` gives without a limit.
  public func count(_ text: String, pair: String? = nil) -> Int {
    encode(text, pair: pair, limit: 0).untruncatedCount
  }

  /// The text of token ids, as the file's decoder puts it together; ids that are not in use give nothing.
  public func decode(_ ids: some Sequence<Int32>, skippingSpecial: Bool = true) -> String {
    var stream = stream(skippingSpecial: skippingSpecial)
    var text = ""
    for id in ids { text += stream.append(id) }
    return text + stream.finish()
  }

  /// A text that grows id by id.
  public func stream(skippingSpecial: Bool = true) -> TextStream {
    TextStream(self, steps: parts.decoders, skipsSpecial: skippingSpecial)
  }

  /// The token of an id; nil where the id is not used.
  public func token(_ id: Int32) -> String? {
    bytes(of: id, skippingSpecial: false).map { String(decoding: $0, as: UTF8.self) }
  }

  /// What a token is within a text, its own bytes: perhaps part of a character. Spaces that stand between words are
  /// the second word's. nil where the id is not used.
  public func textBytes(of id: Int32) -> [UInt8]? {
    bytes(of: id, skippingSpecial: false).map { token in
      parts.decoders.reduce(token) { $1.bytesWithinText($0) }
    }
  }

  /// The id of a token, compared byte for byte.
  public func id(of token: String) -> Int32? {
    parts.addedIDs[Array(token.utf8)] ?? parts.model.vocabulary.id(of: token.utf8)
  }

  /// Whether an id is of an added token that is marked special.
  public func isSpecial(_ id: Int32) -> Bool {
    guard let bytes = bytes(of: id, skippingSpecial: false) else { return false }
    return parts.specialTexts.contains(bytes)
  }

  func bytes(of id: Int32, skippingSpecial: Bool) -> [UInt8]? {
    guard let bytes = parts.addedTexts[id] ?? parts.model.vocabulary.token(id).map(Array.init) else {
      return nil
    }
    return skippingSpecial && parts.specialTexts.contains(bytes) ? nil : bytes
  }

  // MARK: Encoding

  private func tokenise(_ text: String) -> TokenisedText {
    var text = text
    return text.withUTF8 { bytes in
      var result =
        switch parts.model {
        case .wordPiece(let model):
          model.withMatcher { matcher in
            tokenise(bytes) { text, bytes, range, result in
              matcher.tokenise(
                UnsafeBufferPointer(rebasing: bytes[range]), base: range.lowerBound, of: text, into: &result)
            }
          }
        case .bytePairs(let model):
          model.withEncoder { encoder in
            tokenise(bytes) { text, bytes, range, result in
              encoder.tokenise(text, bytes, range, into: &result)
            }
          }
        case .unigram(let model):
          tokenise(bytes) { text, bytes, range, result in
            model.tokenise(text, bytes, range, into: &result)
          }
        }
      if let trim = parts.postProcessor.trim { self.trim(&result, of: bytes, trim) }
      return result
    }
  }

  /// Calls `word` for each word of the text, with the normalised text that it is a range of.
  @inline(__always)
  private func tokenise(
    _ text: UnsafeBufferPointer<UInt8>,
    _ word: (NormalizedText, UnsafeBufferPointer<UInt8>, Range<Int>, inout TokenisedText) -> Void
  ) -> TokenisedText {
    var result = TokenisedText()
    result.ids.reserveCapacity(text.count / 4 + 8)
    result.offsets.reserveCapacity(text.count / 4 + 8)
    let isBert = parts.preTokenizer.steps == [.bert]
    parts.added.split(text) { id, range in
      if let id { return result.add(id, range) }
      // A stretch of the text without added tokens of the unnormalised kind.
      let output = parts.normalizer.normalise(text, range)
      output.bytes.withUnsafeBufferPointer { bytes in
        parts.addedNormalised.split(bytes) { id, range in
          if let id { return result.add(id, output.original(range)) }
          if isBert {
            BertPreTokenizer.split(UnsafeBufferPointer(rebasing: bytes[range])) {
              word(
                output, bytes, range.lowerBound + $0.lowerBound..<range.lowerBound + $0.upperBound, &result)
            }
          } else {
            parts.preTokenizer.split(output, range) { text, range in
              text.bytes.withUnsafeBufferPointer { word(text, $0, range, &result) }
            }
          }
        }
      }
    }
    return result
  }

  /// Takes the spaces that tokens begin and end with off their offsets.
  private func trim(
    _ text: inout TokenisedText, of original: UnsafeBufferPointer<UInt8>, _ trim: PostProcessor.Trim
  ) {
    for i in text.ids.indices {
      // An added token may have taken white space of the text.
      let isAdded = parts.addedTexts[text.ids[i]] != nil
      guard
        let token = isAdded
          ? Array(original[text.offsets[i]]) : bytes(of: text.ids[i], skippingSpecial: false)
      else { continue }
      let scalars = String(decoding: token, as: UTF8.self).unicodeScalars
      func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value == 0x120 || UnicodeTables.shared.flags(scalar.value).contains(.whitespace)
      }
      var leading = scalars.prefix(while: isSpace).count
      let trailing = scalars.reversed().prefix(while: isSpace).count
      var (start, end) = (text.offsets[i].lowerBound, text.offsets[i].upperBound)
      if leading > 0 {
        if trim.keepsFirstSpace, leading == 1, i == 0 || start == 0 { leading = 0 }
        for _ in 0..<leading where start < end { start += UTF8Scalars.decode(original, at: start).length }
      }
      for _ in 0..<trailing where end > start { end -= UTF8Scalars.decode(original, before: end).length }
      text.offsets[i] = start..<end
    }
  }
}
