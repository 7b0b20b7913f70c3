import Foundation
import Testing
import Tokenizers

/// Byte-pair encoding, streams and Unigram where the recorded strings do not reach.
struct BytePairTests {
  static func tokenizer(
    model: String, preTokenizer: String = "null", decoder: String = "null", normalizer: String = "null"
  ) throws -> Tokenizer {
    let text = #"""
      {"added_tokens":[],"normalizer":\#(normalizer),"pre_tokenizer":\#(preTokenizer),"post_processor":null,
      "decoder":\#(decoder),"model":\#(model)}
      """#
    return try Tokenizer(json: Array(text.utf8))
  }

  /// A merge that looked for its pair from the start each time would take hours.
  @Test(arguments: ["gpt2", "llama3", "llama2", "unigram"]) func aMegabyteWithoutSpacesIsEncoded(name: String)
    throws
  {
    let tokenizer = try TokenizerGoldens(name).tokenizer
    var random = SplitMix64(state: 5)
    let letters = Array("abcdefghijklmnopqrstuvwxyz".unicodeScalars)
    var view = String.UnicodeScalarView()
    for _ in 0..<1_000_000 { view.append(letters[random.below(random.below(26) + 1)]) }
    let text = String(view)
    let ids = tokenizer.encode(text, limit: nil, addingSpecials: false).ids
    #expect(tokenizer.decode(ids).filter { $0 != " " } == text)
    let same = String(repeating: "a", count: 1_000_000)
    let sameIDs = tokenizer.encode(same, limit: nil, addingSpecials: false).ids
    #expect(tokenizer.decode(sameIDs).filter { $0 != " " } == same)
  }

  @Test func bothFormsOfMergesAreTheSame() throws {
    let vocab = #"{"a":0,"b":1,"c":2,"ab":3,"abc":4}"#
    let pairs = try Self.tokenizer(
      model: #"{"type":"BPE","vocab":\#(vocab),"merges":[["a","b"],["ab","c"]]}"#)
    let texts = try Self.tokenizer(
      model: ##"{"vocab":\##(vocab),"merges":["#version: 0.2","a b","ab c"]}"##)
    for text in ["abcab", "cab", "", "bca"] {
      #expect(pairs.encode(text, limit: nil) == texts.encode(text, limit: nil))
    }
    #expect(pairs.encode("abcab", limit: nil).ids == [4, 3])
    #expect(pairs.encode("abcab", limit: nil).offsets == [0..<3, 3..<5])
  }

  @Test func mergesThatNameWhatIsNotThereAreRefused() {
    let cases: [(String, TokenizerError)] = [
      (#"["a b c"]"#, .wrongType(path: "model.merges[0]", expected: "two tokens")),
      (#"[["a"]]"#, .wrongType(path: "model.merges[0]", expected: "two tokens")),
      (#"[7]"#, .wrongType(path: "model.merges[0]", expected: "two tokens")),
      (#"["a b","a c"]"#, .unknownToken(path: "model.merges[1]", token: "c")),
      (#"["b a"]"#, .unknownToken(path: "model.merges[0]", token: "ba")),
      ("{}", .wrongType(path: "model.merges", expected: "a list")),
    ]
    for (merges, error) in cases {
      #expect(throws: error, "\(merges)") {
        try Self.tokenizer(model: #"{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":\#(merges)}"#)
      }
    }
    #expect(throws: TokenizerError.unknownToken(path: "model.unk_token", token: "x")) {
      try Self.tokenizer(model: #"{"type":"BPE","unk_token":"x","vocab":{"a":0},"merges":[]}"#)
    }
    #expect(throws: TokenizerError.outOfRange(path: "model.unk_id")) {
      try Self.tokenizer(model: #"{"type":"Unigram","unk_id":1,"vocab":[["a",0.5]]}"#)
    }
    #expect(throws: TokenizerError.wrongType(path: "model.vocab[0][1]", expected: "a number")) {
      try Self.tokenizer(model: #"{"type":"Unigram","unk_id":0,"vocab":[["a","b"]]}"#)
    }
    #expect(throws: TokenizerError.outOfRange(path: "model.vocab[0][1]")) {
      try Self.tokenizer(model: #"{"type":"Unigram","unk_id":0,"vocab":[["a",1e999]]}"#)
    }
  }

  @Test func prefixesSuffixesAndUnknownSymbols() throws {
    let tokenizer = try Self.tokenizer(
      model: #"""
        {"type":"BPE","unk_token":"?","fuse_unk":true,"continuing_subword_prefix":"##","end_of_word_suffix":"$",
        "vocab":{"?":0,"a":1,"##b":2,"##b$":3,"ab$":4,"a$":5},"merges":["a ##b$"]}
        """#, preTokenizer: #"{"type":"WhitespaceSplit"}"#, decoder: #"{"type":"BPEDecoder","suffix":"$"}"#)
    #expect(tokenizer.encode("ab a xyb x", limit: nil).ids == [4, 5, 0, 3, 0])
    #expect(tokenizer.decode([4, 5]) == "ab a")
    #expect(tokenizer.decode([]) == "")
  }

  @Test func aScalarInSeveralTokensComesWhole() throws {
    let tokenizer = try TokenizerGoldens("smollm").tokenizer
    let ids = tokenizer.encode("\u{1F468}\u{200D}\u{1F469} \u{4E2D}\u{20AC}!", limit: nil).ids
    var stream = tokenizer.stream()
    var pieces: [String] = []
    for id in ids { pieces.append(stream.append(id)) }
    #expect(pieces.contains(""))
    #expect(!pieces.joined().unicodeScalars.contains("\u{FFFD}"))
    #expect(pieces.joined() == "\u{1F468}\u{200D}\u{1F469} \u{4E2D}\u{20AC}!")
    #expect(stream.finish() == "")
    // A stream that ends within a scalar says so once.
    let cut = try #require(ids.first)
    #expect(tokenizer.decode([cut]) == "\u{FFFD}")
    #expect(tokenizer.decode([-1, 1_000_000]) == "")
  }

  @Test func wordsSeenBeforeGiveTheSameTokens() throws {
    let goldens = try TokenizerGoldens("gpt2")
    let (first, second) = (goldens.tokenizer, try TokenizerGoldens("gpt2").tokenizer)
    // More words than 8 MiB keep, so that the table is emptied on the way; then some of them again.
    var random = SplitMix64(state: 9)
    let words = (0..<80_000).map { _ in
      String(decoding: (0..<10).map { _ in UInt8(97 + random.below(26)) }, as: UTF8.self)
    }
    for start in stride(from: 0, to: words.count, by: 5000) {
      _ = first.encode(words[start..<start + 5000].joined(separator: " "), limit: nil)
    }
    for word in words.prefix(500) {
      #expect(first.encode(word, limit: nil) == second.encode(word, limit: nil))
    }
  }

  @Test func manyAtOnceGiveTheSameTokens() async throws {
    let goldens = try TokenizerGoldens("qwen")
    let tokenizer = goldens.tokenizer
    let texts = goldens.inputs().suffix(200).map(\.first)
    let alone = texts.map { tokenizer.encode($0, limit: nil) }
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 {
        group.addTask { texts.map { tokenizer.encode($0, limit: nil) } == alone }
      }
      for await isSame in group { #expect(isSame) }
    }
  }
}
