import Foundation
import Testing
import Tokenizers

/// Ids, offsets and texts of each kind of tokenizer against those recorded from the `tokenizers` library.
struct TokenizerGoldenTests {
  static let names = [
    "gemma", "gpt2", "llama2", "llama3", "mistral", "qwen", "smollm", "unigram", "unigram-bytes",
    "unigram-charsmap",
  ]

  @Test(arguments: names) func everyStringGivesTheRecordedTokensAndStreamedText(name: String) throws {
    let goldens = try TokenizerGoldens(name)
    let tokenizer = goldens.tokenizer
    let inputs = goldens.inputs()
    try #require(inputs.count == goldens.strings.count)
    #expect(inputs.count >= 2000)
    var ids: [Int] = []
    var offsets: [Int] = []
    var texts: [Int] = []
    for (i, input) in inputs.enumerated() {
      let encoding = tokenizer.encode(input.first, pair: input.second, limit: nil)
      let ranges = encoding.offsets.flatMap { [Int32($0.lowerBound), Int32($0.upperBound)] }
      let recorded = goldens.strings[i]
      if TokenizerGoldens.digest(encoding.ids + encoding.typeIDs) != recorded[0] { ids.append(i) }
      if TokenizerGoldens.digest(ranges) != recorded[1] { offsets.append(i) }
      let text = Self.streamed(encoding.ids, tokenizer, skippingSpecial: false)
      if TokenizerGoldens.digest(text) != recorded[2] { texts.append(i) }
    }
    #expect(ids.isEmpty, "ids of \(ids.count): \(ids.prefix(20))")
    #expect(offsets.isEmpty, "offsets of \(offsets.count): \(offsets.prefix(20))")
    #expect(texts.isEmpty, "texts of \(texts.count): \(texts.prefix(20))")
  }

  @Test(arguments: names) func anyIDsGiveTheRecordedText(name: String) throws {
    let goldens = try TokenizerGoldens(name)
    let tokenizer = goldens.tokenizer
    #expect(goldens.lists.count >= 400)
    for (i, ids) in goldens.idLists().enumerated() {
      #expect(
        TokenizerGoldens.digest(Self.streamed(ids, tokenizer, skippingSpecial: true)) == goldens.lists[i],
        "list \(i): \(ids)")
    }
  }

  @Test(arguments: names) func shortStringsGiveTheRecordedTokens(name: String) throws {
    let goldens = try TokenizerGoldens(name)
    #expect(goldens.fixed.count > 40)
    for fixed in goldens.fixed {
      let encoding = goldens.tokenizer.encode(fixed.text, limit: nil)
      let tokens = encoding.ids.map { goldens.tokenizer.token($0) ?? "" }
      #expect(encoding.ids == fixed.ids, "\(fixed.text) \(tokens)")
      #expect(
        encoding.offsets.map { [$0.lowerBound, $0.upperBound] } == fixed.offsets, "\(fixed.text) \(tokens)")
      #expect(goldens.tokenizer.decode(encoding.ids, skippingSpecial: false) == fixed.decoded)
    }
  }

  @Test(arguments: names) func theBytesOfTokensAreThoseOfTheText(name: String) throws {
    let goldens = try TokenizerGoldens(name)
    let tokenizer = goldens.tokenizer
    for fixed in goldens.fixed {
      let bytes = fixed.ids.flatMap { tokenizer.textBytes(of: $0) ?? [] }
      let text = Array(fixed.decoded.utf8)
      // A text begins without the space that its first token has.
      #expect(bytes == text || bytes == [0x20] + text, "\(fixed.text)")
    }
    #expect(tokenizer.textBytes(of: Int32(tokenizer.vocabularySize)) == nil)
    if let byte = tokenizer.id(of: "<0xE2>") { #expect(tokenizer.textBytes(of: byte) == [0xe2]) }
  }

  /// The text piece by piece. Pieces are Strings, so that one that ended within a scalar would show a replacement
  /// character that the recorded text does not have.
  static func streamed(_ ids: [Int32], _ tokenizer: Tokenizer, skippingSpecial: Bool) -> String {
    var stream = tokenizer.stream(skippingSpecial: skippingSpecial)
    var text = ""
    for id in ids { text += stream.append(id) }
    return text + stream.finish()
  }
}

/// `Tests/Goldens/tokenizers/NAME.json` and what was recorded of it.
struct TokenizerGoldens {
  struct Fixed: Decodable {
    let text: String
    let ids: [Int32]
    let offsets: [[Int]]
    let decoded: String
  }

  struct Malformed: Error {}

  let tokenizer: Tokenizer
  var strings: [[String]] = []
  var lists: [String] = []
  var fixed: [Fixed] = []

  static let folder = TokenGoldens.root.appending(path: "Tests/Goldens/tokenizers")

  static func file(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: folder.appending(path: "\(name).json")))
  }

  init(_ name: String) throws {
    tokenizer = try Tokenizer(json: Self.file(name))
    let text = try String(contentsOf: Self.folder.appending(path: "\(name).txt"), encoding: .utf8)
    let lines = text.split(separator: "\n")
    guard lines.count > 3, lines[0].hasPrefix("corad-tokenizer 1 "), let count = Int(lines[2].dropFirst(8)),
      let listCount = Int(lines[3 + count].dropFirst(6))
    else { throw Malformed() }
    strings = lines[3..<3 + count].map { $0.split(separator: " ").map(String.init) }
    lists = lines[4 + count..<4 + count + listCount].map(String.init)
    for line in lines[(4 + count + listCount)...] {
      fixed.append(try JSONDecoder().decode(Fixed.self, from: Data(line.dropFirst(6).utf8)))
    }
  }

  /// The strings of the script: the generated ones, then those it names, which are the last of `fixed`.
  func inputs() -> [(first: String, second: String?)] {
    let vocabulary = (0..<tokenizer.vocabularySize).map { id in
      let scalars = (tokenizer.token(Int32(id)) ?? "").unicodeScalars
      return String(String.UnicodeScalarView(scalars.map { $0 == "\u{120}" || $0 == "\u{2581}" ? " " : $0 }))
    }
    let generated = TokenStrings(vocabulary: vocabulary).inputs()
    return generated + fixed.suffix(strings.count - generated.count).map { ($0.text, nil) }
  }

  func idLists() -> [[Int32]] {
    var random = SplitMix64(state: TokenStrings.seed)
    return (0..<lists.count).map { _ in
      (0..<(1 + random.below(40))).map { _ in Int32(random.below(tokenizer.vocabularySize)) }
    }
  }

  static func digest(_ numbers: [Int32]) -> String {
    numbers.withUnsafeBytes { digest($0) }
  }

  static func digest(_ text: String) -> String {
    var text = text
    return text.withUTF8 { digest(UnsafeRawBufferPointer($0)) }
  }

  /// FNV-1a 64
  private static func digest(_ bytes: UnsafeRawBufferPointer) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    var i = 0
    while i < bytes.count {
      hash = (hash ^ UInt64(bytes[i])) &* 0x100_0000_01b3
      i += 1
    }
    let hex = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - hex.count) + hex
  }
}
