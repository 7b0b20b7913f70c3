/// `tokenizer.json` read into the parts that run, each checked once.
struct TokenizerFile: Sendable {
  /// Greatest file that is read.
  static let limitBytes = 128 << 20
  /// Ids stay below this, since tables are as long as the greatest id.
  static let limitID = 1 << 23

  let normalizer: BertNormalizer
  let model: WordPiece
  let postProcessor: PostProcessor
  /// Added tokens looked for in the text as it is, and in the normalised text.
  let added: AddedTokens
  let addedNormalised: AddedTokens
  let addedIDs: [[UInt8]: Int32]
  let addedTexts: [Int32: [UInt8]]

  init(json: [UInt8]) throws(TokenizerError) {
    guard json.count <= Self.limitBytes else {
      throw .tooLarge(bytes: json.count, limitBytes: Self.limitBytes)
    }
    let root = try JSONMember(path: "the file", value: JSONReader.parse(json))
    try root.requireObject()
    normalizer = try Self.normalizer(root["normalizer"])
    let preTokenizer = try root.member("pre_tokenizer")
    let type = try preTokenizer.type() ?? "null"
    guard type == "BertPreTokenizer" else { throw .unsupported(component: "pre_tokenizer", type: type) }
    model = try Self.model(root.member("model"))
    var added: [(token: AddedTokens.Token, isNormalised: Bool)] = []
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
    self.added = AddedTokens(plain)
    addedNormalised = AddedTokens(normalised)
    postProcessor = try Self.postProcessor(root["post_processor"], ids: ids, model: model)
  }

  // MARK: Components

  private static func normalizer(_ member: JSONMember?) throws(TokenizerError) -> BertNormalizer {
    guard let member, let type = try member.type() else {
      return BertNormalizer(
        cleansText: false, separatesChinese: false, stripsAccents: false, lowercases: false)
    }
    guard type == "BertNormalizer" else { throw .unsupported(component: "normalizer", type: type) }
    let lowercases = try member.member("lowercase").bool()
    return BertNormalizer(
      cleansText: try member.member("clean_text").bool(),
      separatesChinese: try member.member("handle_chinese_chars").bool(),
      // null follows lowercase
      stripsAccents: try member["strip_accents"]?.optionalBool() ?? lowercases,
      lowercases: lowercases)
  }

  private static func model(_ member: JSONMember) throws(TokenizerError) -> WordPiece {
    try member.requireObject()
    // Files of before 2021 do not name the model's type; this member is WordPiece's alone.
    let implied = member["max_input_chars_per_word"] == nil ? "null" : "WordPiece"
    let type = try member["type"]?.text() ?? implied
    guard type == "WordPiece" else { throw .unsupported(component: "model", type: type) }
    let vocab = try member.member("vocab")
    var entries: [(token: [UInt8], id: Int32)] = []
    for (key, value) in try vocab.members() {
      guard case .integer(let id) = value else {
        throw .wrongType(
          path: "\(vocab.path).\(String(decoding: key, as: UTF8.self))", expected: "an integer")
      }
      guard id >= 0, id < limitID else {
        throw .outOfRange(path: "\(vocab.path).\(String(decoding: key, as: UTF8.self))")
      }
      entries.append((key, Int32(id)))
    }
    let vocabulary = try Vocabulary(entries, path: vocab.path)
    let unknown = try member.member("unk_token").bytes()
    guard let unknownID = vocabulary.id(of: unknown) else {
      throw .unknownToken(path: "model.unk_token", token: String(decoding: unknown, as: UTF8.self))
    }
    let limit = try member.member("max_input_chars_per_word").integer()
    guard limit >= 0 else { throw .outOfRange(path: "model.max_input_chars_per_word") }
    return WordPiece(
      vocabulary: vocabulary, unknown: unknownID,
      prefix: try member.member("continuing_subword_prefix").bytes(), scalarLimit: limit)
  }

  private static func added(
    _ member: JSONMember, model: WordPiece
  ) throws(TokenizerError) -> [(token: AddedTokens.Token, isNormalised: Bool)] {
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
    return (tokens.filter(\.isSpecial) + tokens.filter { !$0.isSpecial }).map { ($0.token, $0.isNormalised) }
  }

  private static func postProcessor(
    _ member: JSONMember?, ids: [[UInt8]: Int32], model: WordPiece
  ) throws(TokenizerError) -> PostProcessor {
    guard let member, let type = try member.type() else {
      return PostProcessor(
        single: [.text(0, typeID: 0)], pair: [.text(0, typeID: 0), .text(1, typeID: 1)])
    }
    switch type {
    case "TemplateProcessing": return try template(member)
    case "BertProcessing":
      let first = try pairedID(member.member("cls"))
      let separator = try pairedID(member.member("sep"))
      let single: [PostProcessor.Piece] = [
        .special([first], typeID: 0), .text(0, typeID: 0), .special([separator], typeID: 0),
      ]
      return PostProcessor(
        single: single, pair: single + [.text(1, typeID: 1), .special([separator], typeID: 1)])
    default: throw .unsupported(component: "post_processor", type: type)
    }
  }

  /// `["[CLS]", 101]`
  private static func pairedID(_ member: JSONMember) throws(TokenizerError) -> Int32 {
    let elements = try member.elements()
    guard elements.count == 2 else { throw .wrongType(path: member.path, expected: "a token and its id") }
    _ = try elements[0].bytes()
    return try elements[1].id()
  }

  private static func template(_ member: JSONMember) throws(TokenizerError) -> PostProcessor {
    var special: [[UInt8]: [Int32]] = [:]
    let table = try member.member("special_tokens")
    for (key, value) in try table.members() {
      let name = String(decoding: key, as: UTF8.self)
      var ids: [Int32] = []
      for element in try JSONMember(path: "\(table.path).\(name)", value: value).member("ids").elements() {
        ids.append(try element.id())
      }
      special[key] = ids
    }
    func pieces(_ member: JSONMember, texts: Int) throws(TokenizerError) -> [PostProcessor.Piece] {
      var result: [PostProcessor.Piece] = []
      var seen = Set<Int>()
      for element in try member.elements() {
        let members = try element.members()
        guard members.count == 1, let (kind, value) = members.first else {
          throw .wrongType(path: element.path, expected: "one piece")
        }
        let piece = JSONMember(path: element.path, value: value)
        let typeID = try piece.member("type_id").id()
        let name = try piece.member("id").bytes()
        let text = String(decoding: name, as: UTF8.self)
        switch (String(decoding: kind, as: UTF8.self), text) {
        case ("SpecialToken", _):
          guard let ids = special[name] else { throw .unknownToken(path: element.path, token: text) }
          result.append(.special(ids, typeID: typeID))
        case ("Sequence", "A"):
          result.append(.text(0, typeID: typeID))
          seen.insert(0)
        case ("Sequence", "B") where texts == 2:
          result.append(.text(1, typeID: typeID))
          seen.insert(1)
        default: throw .wrongType(path: element.path, expected: "a sequence or a special token")
        }
      }
      guard seen.count == texts, result.count - result.count(where: \.isSpecial) == texts else {
        throw .wrongType(path: member.path, expected: "a template with each text once")
      }
      return result
    }
    return PostProcessor(
      single: try pieces(member.member("single"), texts: 1),
      pair: try pieces(member.member("pair"), texts: 2))
  }
}

extension PostProcessor.Piece {
  fileprivate var isSpecial: Bool {
    if case .special = self { true } else { false }
  }
}

extension AddedTokens.Token {
  fileprivate func with(content: [UInt8]) -> AddedTokens.Token {
    AddedTokens.Token(
      content: content, id: id, isSingleWord: isSingleWord, takesSpaceBefore: takesSpaceBefore,
      takesSpaceAfter: takesSpaceAfter)
  }
}
