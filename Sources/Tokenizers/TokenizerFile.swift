/// `tokenizer.json` read into the parts that run, each checked once.
struct TokenizerFile: Sendable {
  /// Greatest file that is read.
  static let limitBytes = 128 << 20
  /// Ids stay below this, since tables are as long as the greatest id.
  static let limitID = 1 << 23

  let normalizer: Normalizer
  let preTokenizer: PreTokenizer
  let model: TokenModel
  let postProcessor: PostProcessor
  /// In order; the empty list of a file without a decoder is `spaced`.
  let decoders: [Decoder]
  /// Added tokens looked for in the text as it is, and in the normalised text.
  let added: AddedTokens
  let addedNormalised: AddedTokens
  let addedIDs: [[UInt8]: Int32]
  let addedTexts: [Int32: [UInt8]]
  /// Texts of the added tokens that are marked special.
  let specialTexts: Set<[UInt8]>

  init(json: [UInt8]) throws(TokenizerError) {
    guard json.count <= Self.limitBytes else {
      throw .tooLarge(bytes: json.count, limitBytes: Self.limitBytes)
    }
    let root = try JSONMember(path: "the file", value: JSONReader.parse(json))
    try root.requireObject()
    normalizer = try Self.normalizer(root["normalizer"])
    preTokenizer = try Self.preTokenizer(root.member("pre_tokenizer"))
    model = try Self.model(root.member("model"), isByteLevel: preTokenizer.isByteLevel)
    decoders = try Self.decoders(root["decoder"])
    var added: [(token: AddedTokens.Token, isNormalised: Bool, isSpecial: Bool)] = []
    if let member = root["added_tokens"] { added = try Self.added(member, model: model) }
    var ids: [[UInt8]: Int32] = [:]
    var texts: [Int32: [UInt8]] = [:]
    var plain: [AddedTokens.Token] = []
    var normalised: [AddedTokens.Token] = []
    for token in added {
      let name = String(decoding: token.token.content, as: UTF8.self)
      guard ids.updateValue(token.token.id, forKey: token.token.content) == nil,
        texts.updateValue(token.token.content, forKey: token.token.id) == nil
      else { throw .duplicate(path: "added_tokens", name: name) }
      if token.isNormalised {
        normalised.append(token.token.with(content: normalizer.normalise(token.token.content)))
      } else {
        plain.append(token.token)
      }
    }
    addedIDs = ids
    addedTexts = texts
    specialTexts = Set(added.lazy.filter(\.isSpecial).map(\.token.content))
    self.added = AddedTokens(plain)
    addedNormalised = AddedTokens(normalised)
    postProcessor = try Self.postProcessor(root["post_processor"])
  }

  private static func added(
    _ member: JSONMember, model: TokenModel
  ) throws(TokenizerError) -> [(token: AddedTokens.Token, isNormalised: Bool, isSpecial: Bool)] {
    var tokens: [(token: AddedTokens.Token, isNormalised: Bool, isSpecial: Bool)] = []
    for element in try member.elements() {
      let content = try element.member("content").bytes()
      let id = try element.member("id").integer()
      guard id >= 0, id < limitID else { throw .outOfRange(path: "\(element.path).id") }
      if let known = model.vocabulary.id(of: content), known != Int32(id) {
        throw .unknownToken(path: element.path, token: String(decoding: content, as: UTF8.self))
      }
      let token = AddedTokens.Token(
        content: content, id: Int32(id), isSingleWord: try element.member("single_word").bool(),
        takesSpaceBefore: try element.member("lstrip").bool(),
        takesSpaceAfter: try element.member("rstrip").bool())
      tokens.append(
        (token, try element.member("normalized").bool(), try element.member("special").bool()))
    }
    // Of two that look the same after normalisation the special one is found.
    return tokens.filter(\.isSpecial) + tokens.filter { !$0.isSpecial }
  }
}

extension AddedTokens.Token {
  fileprivate func with(content: [UInt8]) -> AddedTokens.Token {
    AddedTokens.Token(
      content: content, id: id, isSingleWord: isSingleWord, takesSpaceBefore: takesSpaceBefore,
      takesSpaceAfter: takesSpaceAfter)
  }
}
