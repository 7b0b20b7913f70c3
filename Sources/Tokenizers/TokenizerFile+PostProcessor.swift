extension TokenizerFile {
  static func postProcessor(_ member: JSONMember?) throws(TokenizerError) -> PostProcessor {
    guard let member, let type = try member.type() else { return .plain }
    switch type {
    case "TemplateProcessing": return try template(member)
    case "BertProcessing":
      let first = PostProcessor.Piece.special([try pairedID(member.member("cls"))], typeID: 0)
      let separator = try pairedID(member.member("sep"))
      let single: [PostProcessor.Piece] = [first, .text(0, typeID: 0), .special([separator], typeID: 0)]
      return PostProcessor(
        single: single, pair: single + [.text(1, typeID: 1), .special([separator], typeID: 1)])
    case "RobertaProcessing":
      let first = PostProcessor.Piece.special([try pairedID(member.member("cls"))], typeID: 0)
      let separator = PostProcessor.Piece.special([try pairedID(member.member("sep"))], typeID: 0)
      let single: [PostProcessor.Piece] = [first, .text(0, typeID: 0), separator]
      return PostProcessor(
        single: single, pair: single + [separator, .text(1, typeID: 0), separator], trim: try trim(member))
    case "ByteLevel":
      var plain = PostProcessor.plain
      plain.trim = try trim(member)
      return plain
    case "Sequence":
      // Offsets are trimmed by one, special tokens set by another; more of one kind would nest.
      var result = PostProcessor.plain
      for element in try member.member("processors").elements() {
        let next = try postProcessor(element)
        if next.trim != nil { result.trim = next.trim }
        guard !next.isPlain else { continue }
        guard result.isPlain else { throw .unsupported(component: element.path, type: "a second template") }
        let trim = result.trim
        result = next
        result.trim = trim
      }
      return result
    default: throw .unsupported(component: "post_processor", type: type)
    }
  }

  private static func trim(_ member: JSONMember) throws(TokenizerError) -> PostProcessor.Trim? {
    guard try member.flag("trim_offsets", default: true) else { return nil }
    return PostProcessor.Trim(keepsFirstSpace: try member.flag("add_prefix_space", default: true))
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
