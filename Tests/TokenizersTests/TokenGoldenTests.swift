import Foundation
import Testing
import Tokenizers

/// Ids, segments and byte offsets against those recorded from the `tokenizers` library.
///
/// They need MiniLM's `tokenizer.json`: `CORAD_TEST_MODEL` names its folder, else `models/all-MiniLM-L6-v2`.
@Suite(.enabled(if: TokenGoldens.modelPath != nil, "no MiniLM folder"))
struct TokenGoldenTests {
  @Test func theFileIsTheRecordedOne() throws {
    let goldens = try TokenGoldens.read()
    #expect(goldens.strings.count >= 2000)
    let tokenizer = try TokenGoldens.shared.get()
    #expect(tokenizer.vocabularySize == 30522)
    #expect(tokenizer.specials.classification == 101)
    #expect(tokenizer.specials.unknown == 100)
    #expect(tokenizer.token(103) == "[MASK]")
    #expect(tokenizer.id(of: "##ing") == 2075)
    #expect(tokenizer.token(30522) == nil)
  }

  @Test(arguments: [nil, 128, 256]) func everyStringGivesTheRecordedTokens(limit: Int?) throws {
    let goldens = try TokenGoldens.read()
    let tokenizer = try TokenGoldens.shared.get()
    let inputs = try TokenGoldens.inputs.get()
    try #require(inputs.count == goldens.strings.count)
    let column = limit == nil ? 0 : limit == 128 ? 1 : 2
    var differing: [Int] = []
    for (i, input) in inputs.enumerated() {
      let encoding = tokenizer.encode(input.first, pair: input.second, limit: limit)
      if TokenGoldens.digest(encoding) != goldens.strings[i][column] { differing.append(i) }
    }
    #expect(differing.isEmpty, "seed \(TokenStrings.seed), strings \(differing.prefix(20))")
  }

  @Test func shortStringsGiveTheRecordedIDs() throws {
    let tokenizer = try TokenGoldens.shared.get()
    for fixed in try TokenGoldens.read().fixed {
      let encoding = tokenizer.encode(fixed.text, limit: nil)
      #expect(encoding.ids == fixed.ids, "\(fixed.text)")
      #expect(encoding.offsets.map { [$0.lowerBound, $0.upperBound] } == fixed.offsets, "\(fixed.text)")
    }
  }

  @Test func everyVariantOfTheFileGivesItsRecordedTokens() throws {
    let goldens = try TokenGoldens.read()
    let inputs = try TokenGoldens.inputs.get()
    let generated = inputs.suffix(TokenStrings.singles + TokenStrings.pairs)
    let sample = generated.prefix(400) + generated.suffix(50)
    #expect(goldens.variants.count >= 11)
    for variant in goldens.variants {
      let tokenizer = try Tokenizer(json: TokenGoldens.file(edits: variant.edits))
      var differing: [Int] = []
      for (i, input) in sample.enumerated() {
        let encoding = tokenizer.encode(input.first, pair: input.second, limit: nil)
        if TokenGoldens.digest(encoding) != variant.digests[i] { differing.append(i) }
      }
      #expect(variant.digests.count == sample.count)
      #expect(
        differing.isEmpty, "\(variant.name): seed \(TokenStrings.seed), strings \(differing.prefix(20))")
    }
  }
}

/// `Tests/Goldens/tokens.txt` and the file it was recorded from.
struct TokenGoldens {
  struct Fixed: Decodable {
    let text: String
    let ids: [Int32]
    let offsets: [[Int]]
  }

  struct Variant: Decodable {
    let name: String
    /// Pairs of a text in the file and what takes its place.
    let edits: [[String]]
    var digests: [String] = []

    private enum CodingKeys: CodingKey { case name, edits }
  }

  struct Malformed: Error {}

  var strings: [[String]] = []
  var fixed: [Fixed] = []
  var variants: [Variant] = []

  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  static let modelPath: String? = {
    let folder =
      ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
      ?? root.appending(path: "models/all-MiniLM-L6-v2").path()
    let path = folder + "/tokenizer.json"
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }()

  static func file(edits: [[String]] = []) throws -> [UInt8] {
    var data = try Data(contentsOf: URL(filePath: try #require(modelPath)))
    for edit in edits {
      let range = try #require(data.range(of: Data(edit[0].utf8)), "\(edit[0])")
      data.replaceSubrange(range, with: Data(edit[1].utf8))
    }
    return Array(data)
  }

  static func read() throws -> TokenGoldens {
    let text = try String(contentsOf: root.appending(path: "Tests/Goldens/tokens.txt"), encoding: .utf8)
    let lines = text.split(separator: "\n")
    guard lines.count > 3, lines[0].hasPrefix("corad-tokens 1 "), let count = Int(lines[2].dropFirst(8))
    else {
      throw Malformed()
    }
    var goldens = TokenGoldens()
    goldens.strings = lines[3..<3 + count].map { $0.split(separator: " ").map(String.init) }
    for line in lines[(3 + count)...] {
      if line.hasPrefix("fixed ") {
        goldens.fixed.append(try JSONDecoder().decode(Fixed.self, from: Data(line.dropFirst(6).utf8)))
      } else if line.hasPrefix("variant ") {
        goldens.variants.append(try JSONDecoder().decode(Variant.self, from: Data(line.dropFirst(8).utf8)))
      } else {
        goldens.variants[goldens.variants.count - 1].digests.append(String(line))
      }
    }
    return goldens
  }

  /// The tokenizer and the strings, made once for all tests.
  static let shared = Result { try Tokenizer(json: file()) }
  static let inputs = Result {
    let tokenizer = try shared.get()
    let vocabulary = try (0..<tokenizer.vocabularySize).map { try #require(tokenizer.token(Int32($0))) }
    return TokenStrings(vocabulary: vocabulary).inputs()
  }

  /// FNV-1a 64 over ids, segments and offsets as little-endian 32-bit numbers.
  static func digest(_ encoding: Encoding) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func add(_ value: Int32) {
      for shift in stride(from: 0, to: 32, by: 8) {
        hash = (hash ^ UInt64(UInt32(bitPattern: value) >> UInt32(shift) & 0xFF)) &* 0x100_0000_01b3
      }
    }
    for id in encoding.ids { add(id) }
    for typeID in encoding.typeIDs { add(typeID) }
    for range in encoding.offsets {
      add(Int32(range.lowerBound))
      add(Int32(range.upperBound))
    }
    let hex = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - hex.count) + hex
  }
}
