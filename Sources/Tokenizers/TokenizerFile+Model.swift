extension TokenizerFile {
  static func model(_ member: JSONMember, isByteLevel: Bool) throws(TokenizerError) -> TokenModel {
    try member.requireObject()
    // Files of before 2021 do not name the model's type; these members are WordPiece's and BPE's alone.
    let implied =
      member["max_input_chars_per_word"] != nil ? "WordPiece" : member["merges"] != nil ? "BPE" : "null"
    let type = try member["type"]?.text() ?? implied
    switch type {
    case "WordPiece": return .wordPiece(try wordPiece(member))
    case "BPE": return .bytePairs(try bytePairs(member, isByteLevel: isByteLevel))
    case "Unigram": return .unigram(try unigram(member))
    default: throw .unsupported(component: "model", type: type)
    }
  }

  private static func vocabulary(_ vocab: JSONMember) throws(TokenizerError) -> Vocabulary {
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
    return try Vocabulary(entries, path: vocab.path)
  }

  private static func id(
    of token: [UInt8], in vocabulary: Vocabulary, path: String
  ) throws(TokenizerError) -> Int32 {
    guard let id = vocabulary.id(of: token) else {
      throw .unknownToken(path: path, token: String(decoding: token, as: UTF8.self))
    }
    return id
  }

  private static func wordPiece(_ member: JSONMember) throws(TokenizerError) -> WordPiece {
    let vocabulary = try vocabulary(member.member("vocab"))
    let unknown = try id(of: member.member("unk_token").bytes(), in: vocabulary, path: "model.unk_token")
    let limit = try member.member("max_input_chars_per_word").integer()
    guard limit >= 0 else { throw .outOfRange(path: "model.max_input_chars_per_word") }
    return WordPiece(
      vocabulary: vocabulary, unknown: unknown,
      prefix: try member.member("continuing_subword_prefix").bytes(), scalarLimit: limit)
  }

  private static func bytePairs(
    _ member: JSONMember, isByteLevel: Bool
  ) throws(TokenizerError) -> BytePairEncoding {
    // Dropout is for training: the same text would not give the same tokens twice.
    if let dropout = try member.optional("dropout"), try dropout.double() != 0 {
      throw .unsupported(component: "model", type: "BPE with dropout")
    }
    let vocabulary = try vocabulary(member.member("vocab"))
    var options = BytePairEncoding.Options()
    if let unknown = try member.optional("unk_token") {
      options.unknown = try id(of: unknown.bytes(), in: vocabulary, path: unknown.path)
    }
    options.fusesUnknown = try member.flag("fuse_unk", default: false)
    options.ignoresMerges = try member.flag("ignore_merges", default: false)
    options.prefix = try member.optional("continuing_subword_prefix")?.bytes() ?? []
    options.suffix = try member.optional("end_of_word_suffix")?.bytes() ?? []
    options.isByteLevel = isByteLevel
    if try member.flag("byte_fallback", default: false) { options.byteTokens = byteTokens(vocabulary) }
    return BytePairEncoding(
      vocabulary: vocabulary, merges: try merges(member.member("merges"), vocabulary, prefix: options.prefix),
      options: options)
  }

  /// `<0x00>` to `<0xFF>`
  private static func byteTokens(_ vocabulary: Vocabulary) -> [Int32] {
    (0..<256).map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return vocabulary.id(of: "<0x\(byte < 16 ? "0" : "")\(digits)>".utf8) ?? -1
    }
  }

  /// Pairs as `"a b"` or `["a", "b"]`, the earliest learned first.
  private static func merges(
    _ member: JSONMember, _ vocabulary: Vocabulary, prefix: [UInt8]
  ) throws(TokenizerError) -> [(left: Int32, right: Int32, id: Int32)] {
    guard case .array(let elements) = member.value else {
      throw .wrongType(path: member.path, expected: "a list")
    }
    var result: [(left: Int32, right: Int32, id: Int32)] = []
    result.reserveCapacity(elements.count)
    for (index, element) in elements.enumerated() {
      let left: ArraySlice<UInt8>
      let right: ArraySlice<UInt8>
      switch element {
      case .string(let text):
        // The first line of the files that these lists came from.
        if text.starts(with: Array("#version".utf8)) { continue }
        let parts = text.split(separator: 0x20, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
          throw .wrongType(path: "\(member.path)[\(index)]", expected: "two tokens")
        }
        (left, right) = (parts[0], parts[1])
      case .array(let parts):
        guard parts.count == 2, case .string(let first) = parts[0], case .string(let second) = parts[1] else {
          throw .wrongType(path: "\(member.path)[\(index)]", expected: "two tokens")
        }
        (left, right) = (first[...], second[...])
      default: throw .wrongType(path: "\(member.path)[\(index)]", expected: "two tokens")
      }
      func known(_ token: some Sequence<UInt8>) throws(TokenizerError) -> Int32 {
        guard let id = vocabulary.id(of: token) else {
          throw .unknownToken(
            path: "\(member.path)[\(index)]", token: String(decoding: Array(token), as: UTF8.self))
        }
        return id
      }
      result.append(
        (try known(left), try known(right), try known(Array(left) + right.dropFirst(prefix.count))))
    }
    return result
  }

  private static func unigram(_ member: JSONMember) throws(TokenizerError) -> Unigram {
    let vocab = try member.member("vocab")
    var entries: [(token: [UInt8], id: Int32)] = []
    var scores: [Double] = []
    for element in try vocab.elements() {
      let pair = try element.elements()
      guard pair.count == 2 else { throw .wrongType(path: element.path, expected: "a token and its score") }
      guard entries.count < limitID else { throw .outOfRange(path: vocab.path) }
      entries.append((try pair[0].bytes(), Int32(entries.count)))
      scores.append(try pair[1].double())
    }
    let vocabulary = try Vocabulary(entries, path: vocab.path)
    let unknown = try member.member("unk_id").id()
    guard Int(unknown) < entries.count else { throw .outOfRange(path: "model.unk_id") }
    return Unigram(
      vocabulary: vocabulary, entries: entries, scores: scores, unknown: unknown,
      byteTokens: try member.flag("byte_fallback", default: false) ? byteTokens(vocabulary) : [])
  }
}
