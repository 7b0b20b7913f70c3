import Testing
import Tokenizers

@Suite struct StopStringsTests {
  /// The whole text up to the first stop string that ends, and that string: a slow search over prefixes.
  private func reference(_ text: String, _ stops: [String]) -> (text: String, match: String?) {
    let bytes = Array(text.utf8)
    for end in 0...bytes.count {
      let ending = stops.filter { !$0.isEmpty && bytes[..<end].suffix($0.utf8.count).elementsEqual($0.utf8) }
      if let longest = ending.max(by: { $0.utf8.count < $1.utf8.count }) {
        return (String(decoding: bytes[..<(end - longest.utf8.count)], as: UTF8.self), longest)
      }
    }
    return (text, nil)
  }

  private func run(_ pieces: [String], _ stops: [String]) -> (text: String, match: String?) {
    var matcher = StopStrings(stops)
    var text = ""
    for piece in pieces { text += matcher.append(piece) }
    return (text + matcher.finish(), matcher.match)
  }

  struct Row: Sendable {
    let text: String
    let stops: [String]
    let expected: String
    let match: String?
  }

  static let table = [
    Row(text: "abcabd", stops: ["abd"], expected: "abc", match: "abd"),
    Row(text: "one\n\ntwo", stops: ["\n\n"], expected: "one", match: "\n\n"),
    Row(text: "aXYZ", stops: ["YZ", "XYZ"], expected: "a", match: "XYZ"),
    Row(text: "XYZ", stops: ["XY", "XYZ"], expected: "", match: "XY"),
    Row(text: "abc", stops: [], expected: "abc", match: nil),
    Row(text: "abc", stops: [""], expected: "abc", match: nil),
    Row(text: "ééx", stops: ["éx"], expected: "é", match: "éx"),
    Row(text: "aab", stops: ["aaa"], expected: "aab", match: nil),
    Row(text: "", stops: ["a"], expected: "", match: nil),
    Row(text: "aaab", stops: ["aab"], expected: "a", match: "aab"),
    // Equal to a reader and not to a byte: e with an accent of its own.
    Row(text: "e\u{301}", stops: ["\u{e9}"], expected: "e\u{301}", match: nil),
  ]

  @Test(arguments: table) func `a text ends where a stop string begins`(_ row: Row) {
    let whole = run([row.text], row.stops)
    #expect(Array(whole.text.utf8) == Array(row.expected.utf8) && whole.match == row.match)
    let single = run(row.text.unicodeScalars.map { String($0) }, row.stops)
    #expect(Array(single.text.utf8) == Array(row.expected.utf8) && single.match == row.match)
  }

  @Test func `random pieces of random texts give what a search gives`() {
    var generator = Generator(state: 11)
    let letters = ["a", "b", "é", "漢"]
    for round in 0..<3_000 {
      func word(_ most: Int) -> String {
        (0..<Int.random(in: 0...most, using: &generator)).map { _ in
          letters[Int.random(in: 0..<letters.count, using: &generator)]
        }.joined()
      }
      let text = word(24)
      let stops = (0..<Int.random(in: 0...3, using: &generator)).map { _ in word(4) }
      var rest = Substring(text)
      var pieces: [String] = []
      while !rest.isEmpty {
        let piece = rest.prefix(Int.random(in: 0...4, using: &generator))
        pieces.append(String(piece))
        rest = rest.dropFirst(piece.count)
      }
      let (expected, result) = (reference(text, stops), run(pieces, stops))
      #expect(result.text == expected.text, "round \(round): \(pieces), \(stops)")
      #expect(result.match == expected.match, "round \(round): \(pieces), \(stops)")
    }
  }

  @Test func `only what may still become a stop string waits`() {
    var matcher = StopStrings(["</s>"])
    #expect(matcher.append("a<") == "a")
    #expect(matcher.append("/b</") == "</b")
    #expect(matcher.append("s") == "")
    #expect(matcher.match == nil)
    #expect(matcher.append(">rest") == "" && matcher.match == "</s>")
    #expect(matcher.append("more") == "" && matcher.finish() == "")
  }
}

private struct Generator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ (state >> 29)
  }
}
