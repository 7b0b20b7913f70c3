// The components before and after the model. One of a type that is not known, or with a setting that is not, is
// refused by name.
extension TokenizerFile {
  // MARK: Normalizer

  static func normalizer(_ member: JSONMember?) throws(TokenizerError) -> Normalizer {
    guard let member, let type = try member.type() else { return .none }
    switch type {
    case "BertNormalizer":
      let lowercases = try member.member("lowercase").bool()
      return .bert(
        BertNormalizer(
          cleansText: try member.member("clean_text").bool(),
          separatesChinese: try member.member("handle_chinese_chars").bool(),
          // null follows lowercase
          stripsAccents: try member["strip_accents"]?.optionalBool() ?? lowercases,
          lowercases: lowercases))
    case "Lowercase": return .lowercase
    case "StripAccents": return .stripAccents
    case "Nmt": return .nmt
    case "Strip":
      return .strip(
        left: try member.member("strip_left").bool(), right: try member.member("strip_right").bool())
    case "Prepend": return .prepend(try member.member("prepend").bytes())
    case "Replace":
      return .replace(
        try pattern(member.member("pattern"), component: "normalizer Replace"),
        with: try member.member("content").bytes())
    case "Precompiled":
      return .precompiled(try CharacterMap(base64: member.member("precompiled_charsmap")))
    case "Sequence":
      var parts: [Normalizer] = []
      for element in try member.member("normalizers").elements() { parts.append(try normalizer(element)) }
      return .sequence(parts)
    default:
      guard let form = UnicodeForm(rawValue: type) else {
        throw .unsupported(component: "normalizer", type: type)
      }
      return .unicode(form)
    }
  }

  /// `{"String": "a"}` or `{"Regex": "a"}`
  private static func pattern(
    _ member: JSONMember, component: String
  ) throws(TokenizerError) -> TextPattern {
    if let literal = member["String"] {
      let bytes = try literal.bytes()
      guard !bytes.isEmpty else { throw .outOfRange(path: literal.path) }
      return .literal(bytes)
    }
    let expression = try member.member("Regex").text()
    guard let pattern = TextPattern(expression: expression) else {
      throw .unsupported(component: "\(component) pattern", type: expression)
    }
    return pattern
  }

  // MARK: Pre-tokenizer

  static func preTokenizer(_ member: JSONMember) throws(TokenizerError) -> PreTokenizer {
    var steps: [PreTokenizer.Step] = []
    var isByteLevel = false
    try add(member, to: &steps, isByteLevel: &isByteLevel)
    return PreTokenizer(steps: steps, isByteLevel: isByteLevel)
  }

  private static func add(
    _ member: JSONMember, to steps: inout [PreTokenizer.Step], isByteLevel: inout Bool
  ) throws(TokenizerError) {
    guard let type = try member.type() else { return }
    // What follows would see the bytes' characters, not the text.
    guard !isByteLevel else {
      throw .unsupported(component: "pre_tokenizer", type: "\(type) after ByteLevel")
    }
    switch type {
    case "Sequence":
      for element in try member.member("pretokenizers").elements() {
        try add(element, to: &steps, isByteLevel: &isByteLevel)
      }
    case "ByteLevel":
      if try member.flag("add_prefix_space", default: true) { steps.append(.prefixSpace) }
      if try member.flag("use_regex", default: true) { steps.append(.words(.gpt2)) }
      isByteLevel = true
    case "BertPreTokenizer": steps.append(.bert)
    case "WhitespaceSplit": steps.append(.whitespaceSplit)
    case "Digits": steps.append(.digits(individual: try member.member("individual_digits").bool()))
    case "Metaspace":
      let replacement = try member.member("replacement").bytes()
      guard !replacement.isEmpty else { throw .outOfRange(path: "\(member.path).replacement") }
      steps.append(
        .metaspace(
          PreTokenizer.Metaspace(
            replacement: replacement, scheme: try scheme(member),
            splits: try member.flag("split", default: true))))
    case "Split": steps.append(try split(member))
    default: throw .unsupported(component: "pre_tokenizer", type: type)
    }
  }

  /// `prepend_scheme`, or `add_prefix_space` as files of before 2024 have it.
  private static func scheme(_ member: JSONMember) throws(TokenizerError) -> PreTokenizer.Metaspace.Scheme {
    if try !member.flag("add_prefix_space", default: true) { return .never }
    guard let name = try member.optional("prepend_scheme")?.text() else { return .always }
    guard let scheme = PreTokenizer.Metaspace.Scheme(rawValue: name) else {
      throw .unsupported(component: "prepend_scheme", type: name)
    }
    return scheme
  }

  private static func split(_ member: JSONMember) throws(TokenizerError) -> PreTokenizer.Step {
    let name = try member.member("behavior").text()
    guard let behavior = PreTokenizer.Behavior(rawValue: name) else {
      throw .unsupported(component: "pre_tokenizer Split behavior", type: name)
    }
    let inverts = try member.member("invert").bool()
    let pattern = try member.member("pattern")
    if let literal = pattern["String"] {
      guard !inverts else { throw .unsupported(component: "pre_tokenizer Split", type: "invert") }
      let bytes = try literal.bytes()
      guard !bytes.isEmpty else { throw .outOfRange(path: literal.path) }
      return .literal(bytes, behavior)
    }
    let expression = try pattern.member("Regex").text()
    guard let words = WordPattern(expression: expression) else {
      throw .unsupported(component: "pre_tokenizer pattern", type: expression)
    }
    // The words are the whole text, so that these two are one.
    guard behavior == (inverts ? .removed : .isolated) else {
      throw .unsupported(
        component: "pre_tokenizer Split behavior", type: inverts ? "\(name), inverted" : name)
    }
    return .words(words)
  }

  // MARK: Decoder

  static func decoders(_ member: JSONMember?) throws(TokenizerError) -> [Decoder] {
    guard let member, try member.type() != nil else { return [.spaced] }
    let steps = try decoder(member).steps
    var isFused = false
    for step in steps {
      if isFused, !step.readsFused {
        throw .unsupported(component: "decoder", type: "tokens after a fused text")
      }
      isFused = isFused || step.fuses
    }
    return steps
  }

  private static func decoder(_ member: JSONMember) throws(TokenizerError) -> Decoder {
    let type = try member.member("type").text()
    switch type {
    case "ByteLevel": return .byteLevel
    case "ByteFallback": return .byteFallback
    case "Fuse": return .fuse
    case "Metaspace":
      let replacement = try member.member("replacement").bytes()
      guard !replacement.isEmpty else { throw .outOfRange(path: "\(member.path).replacement") }
      return .metaspace(replacement: replacement, prepends: try scheme(member) != .never)
    case "Strip":
      let content = try member.member("content").bytes()
      let start = try member.member("start").integer()
      let stop = try member.member("stop").integer()
      guard !content.isEmpty, start >= 0, stop >= 0 else { throw .outOfRange(path: member.path) }
      return .strip(content, start: start, stop: stop)
    case "Replace":
      return .replace(
        try pattern(member.member("pattern"), component: "decoder Replace"),
        with: try member.member("content").bytes())
    case "WordPiece":
      return .wordPiece(
        prefix: try member.member("prefix").bytes(), cleansUp: try member.member("cleanup").bool())
    case "BPEDecoder": return .wordEnds(try member.member("suffix").bytes())
    case "Sequence":
      var decoders: [Decoder] = []
      for element in try member.member("decoders").elements() { decoders.append(try decoder(element)) }
      return .sequence(decoders)
    default: throw .unsupported(component: "decoder", type: type)
    }
  }
}
