import Testing
import Tokenizers

/// What a `tokenizer.json` may hold, on a file small enough to read.
struct TokenizerFileTests {
  static let normalizer =
    #"{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}"#
  static let vocab =
    ###"{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##b":4,"\###u{E9}":5,"e\###u{301}":6,"[PAD]":7}"###
  static let template =
    #"""
    {"type":"TemplateProcessing",
    "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
    {"SpecialToken":{"id":"[SEP]","type_id":0}}],
    "pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
    {"SpecialToken":{"id":"[SEP]","type_id":0}},{"Sequence":{"id":"B","type_id":1}},
    {"SpecialToken":{"id":"[SEP]","type_id":1}}],
    "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]},
    "[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}}
    """#

  static func file(
    normalizer: String = normalizer, preTokenizer: String = #"{"type":"BertPreTokenizer"}"#,
    model: String? = nil, vocab: String = vocab, postProcessor: String = template, added: String = "[]",
    decoder: String = "null"
  ) -> String {
    let model =
      model
      ?? ###"{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","###
      + #""max_input_chars_per_word":100,"vocab":\#(vocab)}"#
    return #"""
      {"version":"1.0","truncation":{"max_length":2},"padding":{"strategy":{"Fixed":9}},"added_tokens":\#(added),
      "normalizer":\#(normalizer),"pre_tokenizer":\#(preTokenizer),"post_processor":\#(postProcessor),
      "decoder":\#(decoder),"model":\#(model)}
      """#
  }

  static func open(_ text: String) throws(TokenizerError) -> Tokenizer {
    try Tokenizer(json: Array(text.utf8))
  }

  @Test func truncationAndPaddingOfTheFileAreIgnored() throws {
    let encoding = try Self.open(Self.file()).encode("ab a", limit: nil)
    #expect(encoding.ids == [1, 3, 4, 3, 2])
    #expect(encoding.offsets == [0..<0, 0..<1, 1..<2, 3..<4, 0..<0])
    #expect(!encoding.isTruncated)
  }

  @Test func canonicallyEqualTokensAreTwoTokens() throws {
    let tokenizer = try Self.open(Self.file())
    #expect(tokenizer.id(of: "\u{E9}") == 5)
    #expect(tokenizer.id(of: "e\u{301}") == 6)
    #expect(tokenizer.token(6).map { Array($0.utf8) } == [0x65, 0xCC, 0x81])
  }

  @Test func aModelWithoutATypeIsKnownByItsMembers() throws {
    let model =
      ###"{"unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":\###(Self.vocab)}"###
    #expect(try Self.open(Self.file(model: model)).encode("a", limit: nil).ids == [1, 3, 2])
  }

  @Test(arguments: [
    (5, 5, 20, 5, 5), (5, 5, 8, 2, 3), (5, 5, 9, 3, 3), (1, 9, 8, 1, 4), (9, 1, 8, 4, 1), (4, 6, 10, 3, 4),
    (6, 4, 10, 4, 3), (9, 9, 3, 0, 0), (9, 9, 0, 0, 0), (2, 9, 4, 0, 1), (0, 9, 8, 0, 5),
  ])
  func ofAPairTheLongerTextIsCutFirst(first: Int, second: Int, limit: Int, kept: Int, keptOfPair: Int) throws
  {
    let a = Array(repeating: "a", count: first).joined(separator: " ")
    let b = Array(repeating: "a", count: second).joined(separator: " ")
    let encoding = try Self.open(Self.file()).encode(a, pair: b, limit: limit)
    #expect(encoding.typeIDs.count(where: { $0 == 0 }) == kept + 2)
    #expect(encoding.typeIDs.count(where: { $0 == 1 }) == keptOfPair + 1)
    #expect(encoding.untruncatedCount == first + second + 3)
    #expect(encoding.isTruncated == (kept + keptOfPair < first + second))
  }

  @Test func componentsThatAreNotSupportedAreRefusedByName() {
    let pattern = #"\p{Lu}+|\s+"#
    let split = #"{"type":"Split","pattern":{"Regex":"\\p{Lu}+|\\s+"},"behavior":"Isolated","invert":false}"#
    let cases: [(String, TokenizerError)] = [
      (
        Self.file(model: #"{"type":"WordLevel","vocab":{}}"#),
        .unsupported(component: "model", type: "WordLevel")
      ),
      (
        Self.file(model: #"{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}"#),
        .unsupported(component: "model", type: "BPE with dropout")
      ),
      (
        Self.file(normalizer: #"{"type":"ByteLevel"}"#),
        .unsupported(component: "normalizer", type: "ByteLevel")
      ),
      (
        Self.file(normalizer: #"{"type":"Replace","pattern":{"Regex":"a|b"},"content":""}"#),
        .unsupported(component: "normalizer Replace pattern", type: "a|b")
      ),
      (Self.file(preTokenizer: split), .unsupported(component: "pre_tokenizer pattern", type: pattern)),
      (
        Self.file(preTokenizer: #"{"type":"UnicodeScripts"}"#),
        .unsupported(component: "pre_tokenizer", type: "UnicodeScripts")
      ),
      (
        Self.file(
          preTokenizer: #"{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]}"#),
        .unsupported(component: "pre_tokenizer", type: "Digits after ByteLevel")
      ),
      (
        Self.file(postProcessor: #"{"type":"Other"}"#),
        .unsupported(component: "post_processor", type: "Other")
      ),
      (Self.file(decoder: #"{"type":"CTC"}"#), .unsupported(component: "decoder", type: "CTC")),
      (
        Self.file(decoder: #"{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]}"#),
        .unsupported(component: "decoder", type: "tokens after a fused text")
      ),
    ]
    for (text, error) in cases {
      #expect(throws: error, "\(text.prefix(300))") { try Self.open(text) }
    }
  }

  @Test func whatIsMissingOrOfAnotherTypeIsNamed() {
    let cases: [(String, TokenizerError)] = [
      ("[]", .wrongType(path: "the file", expected: "an object")),
      ("{}", .missing(path: "pre_tokenizer")),
      (Self.file(vocab: "[]"), .wrongType(path: "model.vocab", expected: "an object")),
      (Self.file(vocab: #"{"[UNK]":"0"}"#), .wrongType(path: "model.vocab.[UNK]", expected: "an integer")),
      (Self.file(vocab: #"{"[UNK]":0.5}"#), .wrongType(path: "model.vocab.[UNK]", expected: "an integer")),
      (Self.file(vocab: #"{"[UNK]":-1}"#), .outOfRange(path: "model.vocab.[UNK]")),
      (Self.file(vocab: #"{"[UNK]":2147483648}"#), .outOfRange(path: "model.vocab.[UNK]")),
      (Self.file(vocab: #"{"[UNK]":0,"a":1,"a":2}"#), .duplicate(path: "model.vocab", name: "a")),
      (Self.file(vocab: #"{"[UNK]":0,"a":1,"b":1}"#), .duplicate(path: "model.vocab", name: "id 1")),
      (Self.file(vocab: #"{"a":1}"#), .unknownToken(path: "model.unk_token", token: "[UNK]")),
      (Self.file(normalizer: #"{"type":"BertNormalizer"}"#), .missing(path: "normalizer.lowercase")),
      (Self.file(normalizer: #"{"type":7}"#), .wrongType(path: "normalizer.type", expected: "a string")),
      (Self.file(normalizer: "{}"), .missing(path: "normalizer.type")),
      (Self.file(added: "{}"), .wrongType(path: "added_tokens", expected: "a list")),
      (Self.file(added: #"[{"id":0}]"#), .missing(path: "added_tokens[0].content")),
      (
        Self.file(added: Self.added("a", 9)), .unknownToken(path: "added_tokens[0]", token: "a")
      ),
      (
        Self.file(
          added: "[" + Self.added("x", 9).dropFirst().dropLast() + "," + Self.added("y", 9).dropFirst()),
        .duplicate(path: "added_tokens", name: "y")
      ),
      (
        Self.file(postProcessor: Self.template.replacing(#""ids":[1]"#, with: #""ids":["1"]"#)),
        .wrongType(path: "post_processor.special_tokens.[CLS].ids[0]", expected: "an integer")
      ),
      (
        Self.file(postProcessor: Self.template.replacing(#""id":"B""#, with: #""id":"A""#)),
        .wrongType(path: "post_processor.pair", expected: "a template with each text once")
      ),
      (#"{"model":1,"model":2}"#, .duplicate(path: "the file", name: "model")),
    ]
    for (text, error) in cases {
      #expect(throws: error, "\(text.prefix(200))") { try Self.open(text) }
    }
  }

  private static func added(_ content: String, _ id: Int) -> String {
    #"[{"id":\#(id),"content":"\#(content)","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]"#
  }

  @Test func everyTruncationOfTheFileIsRefused() {
    let whole = Array(Self.file().utf8)
    for count in 0..<whole.count {
      #expect(throws: TokenizerError.self, "cut at \(count)") { try Tokenizer(json: Array(whole[..<count])) }
    }
  }

  /// The attacks a hand-made file may try, and what each meets.
  @Test func adversary() {
    let deep = String(repeating: "[", count: 100_000)
    let cases: [(name: String, bytes: [UInt8], error: TokenizerError)] = [
      ("nested lists", Array(deep.utf8), .notJSON(offset: 65, reason: .tooDeep)),
      (
        "nested objects", Array(String(repeating: #"{"a":"#, count: 100_000).utf8),
        .notJSON(offset: 325, reason: .tooDeep)
      ),
      ("nothing", [], .notJSON(offset: 0, reason: .unexpectedEnd)),
      ("a second value", Array("{} {}".utf8), .notJSON(offset: 3, reason: .trailingBytes)),
      ("a comma too many", Array("[1,]".utf8), .notJSON(offset: 3, reason: .unexpectedByte)),
      ("a leading zero", Array("[01]".utf8), .notJSON(offset: 3, reason: .invalidNumber)),
      ("a plus", Array("[+5]".utf8), .notJSON(offset: 1, reason: .unexpectedByte)),
      ("a bare minus", Array("[-]".utf8), .notJSON(offset: 2, reason: .invalidNumber)),
      ("a bare exponent", Array("[1e]".utf8), .notJSON(offset: 3, reason: .invalidNumber)),
      ("NaN", Array("NaN".utf8), .notJSON(offset: 0, reason: .unexpectedByte)),
      ("half a literal", Array("tru".utf8), .notJSON(offset: 3, reason: .unexpectedEnd)),
      ("a lone high surrogate", Array(#"["\ud83d"]"#.utf8), .notJSON(offset: 8, reason: .loneSurrogate)),
      ("a lone low surrogate", Array(#"["\ude00"]"#.utf8), .notJSON(offset: 8, reason: .loneSurrogate)),
      ("an unknown escape", Array(#"["\x41"]"#.utf8), .notJSON(offset: 3, reason: .invalidEscape)),
      ("a raw line feed", Array("[\"\n\"]".utf8), .notJSON(offset: 2, reason: .controlCharacter)),
      ("overlong UTF-8", [0x22, 0xC0, 0x80, 0x22], .notJSON(offset: 1, reason: .invalidUTF8)),
      ("an encoded surrogate", [0x22, 0xED, 0xA0, 0x80, 0x22], .notJSON(offset: 1, reason: .invalidUTF8)),
      ("beyond Unicode", [0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], .notJSON(offset: 1, reason: .invalidUTF8)),
      ("cut UTF-8", [0x22, 0xE2, 0x82], .notJSON(offset: 1, reason: .invalidUTF8)),
      ("a byte order mark", [0xEF, 0xBB, 0xBF, 0x7B, 0x7D], .notJSON(offset: 0, reason: .unexpectedByte)),
    ]
    for (name, bytes, error) in cases {
      #expect(throws: error, "\(name)") { try Tokenizer(json: bytes) }
    }
  }

  @Test func fileJustOverTheLimitIsRefusedUnread() {
    let limit = 128 << 20
    #expect(throws: TokenizerError.tooLarge(bytes: limit + 1, limitBytes: limit)) {
      try Tokenizer(json: [UInt8](repeating: 0x20, count: limit + 1))
    }
  }

  @Test func aMillionMarksOnOneLetterTakeLinearTime() throws {
    let marks = String(repeating: "\u{301}\u{323}", count: 50_000)
    let encoding = try Self.open(Self.file()).encode("a" + marks + "b", limit: nil)
    #expect(encoding.ids == [1, 3, 4, 2])
    #expect(encoding.offsets[2] == 1 + marks.utf8.count..<2 + marks.utf8.count)
  }
}
