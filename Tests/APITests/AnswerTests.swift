import Adapters
import Testing

@testable import API
@testable import Serving

/// Predictions as JSON: made piece by piece for speed, so read back here.
@Suite struct AnswerTests {
  private func predictions(_ list: [Prediction], labels: [String], topK: Int? = nil) throws -> [JSONValue] {
    let source = AnswerSource(
      task: "t", kind: .classification, version: 1, subspace: "sha256:00", labels: labels)
    let result = InferenceResult(predictions: list, sources: [source])
    let value = try JSONReader.read(
      InferenceAnswers.json(result, task: "t", topK: topK, encoding: .float))
    return try #require(value["predictions"]?.array)
  }

  private func listed(_ prediction: JSONValue) -> [String] {
    (prediction["scores"]?.array ?? []).map {
      "\($0["label"]?.string ?? "?") \($0["score"]?.number?.text ?? "?")"
    }
  }

  @Test func scoresFallAndTheFirstLabelWinsATie() throws {
    let all = try predictions(
      [.classification(scores: [0.25, 0.5, 0.25]), .classification(scores: [0.125, 0.125, 0.75])],
      labels: ["a", "b \"quoted\"", "c\n"])
    #expect(listed(all[0]) == ["b \"quoted\" 0.5", "a 0.25", "c\n 0.25"])
    #expect(all[0]["label"]?.string == "b \"quoted\"" && all[0]["score"]?.number?.text == "0.5")
    #expect(listed(all[1]) == ["c\n 0.75", "a 0.125", "b \"quoted\" 0.125"])
  }

  /// Few labels and many are sorted differently.
  @Test(arguments: [1, 8, 9, 40]) func anyNumberOfLabelsIsSorted(_ count: Int) throws {
    let scores = (0..<count).map { Float(($0 * 7) % count % 5) / 8 }
    let labels = (0..<count).map { "label \($0)" }
    let order = scores.indices.sorted { (scores[$1], $0) < (scores[$0], $1) }
    let wanted = order.map { "\(labels[$0]) \(scores[$0])" }
    for topK in [nil, 1, 3, count + 1] {
      let prediction = try #require(
        try predictions([.classification(scores: scores)], labels: labels, topK: topK).first)
      #expect(listed(prediction) == Array(wanted.prefix(topK ?? count)))
    }
  }

  @Test func multilabelListsTheChosenAndAllScores() throws {
    let all = try predictions(
      [.multilabel(scores: [0.5, 0.75], chosen: [1]), .multilabel(scores: [0.25, 0.125], chosen: [])],
      labels: ["a", "b"])
    #expect(all[0]["labels"]?.array?.compactMap(\.string) == ["b"] && listed(all[0]) == ["b 0.75", "a 0.5"])
    #expect(all[1]["labels"]?.array?.isEmpty == true && listed(all[1]) == ["a 0.25", "b 0.125"])
  }

  /// What is not a number is null, never an invalid text.
  @Test func scoresThatAreNotFiniteStayJSON() throws {
    let all = try predictions([.classification(scores: [.nan, .infinity])], labels: ["a", "b"])
    #expect(all[0]["scores"]?.array?.count == 2)
  }

  /// Around the reader's eight bytes at a time: every length, and the quote, the escape and other letters at each place.
  @Test func stringsAreReadWhateverTheirLength() throws {
    for length in 0...33 {
      let plain = String(repeating: "x", count: length)
      for tail in ["", "é", "\u{1f600}", "\\n", "\\\"", "\\u00e9"] {
        let value = try JSONReader.read(Array("[\"\(plain)\(tail)\(plain)\", 1]".utf8))
        let wanted = tail == "\\n" ? "\n" : tail == "\\\"" ? "\"" : tail == "\\u00e9" ? "é" : tail
        #expect(value.array?.first?.string == plain + wanted + plain)
      }
      for bad in ["\u{1}", "\n", "\u{1f}"] {
        #expect(throws: JSONError.malformed(.control, offset: 2 + length)) {
          try JSONReader.read(Array("[\"\(plain)\(bad)\(plain)\"]".utf8))
        }
      }
      #expect(throws: JSONError.malformed(.end, offset: 2 + length)) {
        try JSONReader.read(Array("[\"\(plain)".utf8))
      }
      #expect(throws: JSONError.malformed(.encoding, offset: 2)) {
        try JSONReader.read([0x5b, 0x22] + Array(plain.utf8) + [0xff, 0x22, 0x5d])
      }
    }
  }
}
