import Digests
import Foundation
import Safetensors
import Tensors
import Testing

@testable import Engine

enum Tolerance {
  /// A log-probability in float32 against torch's sum of 509 exponentials.
  static let logprob: Float = 4e-6
  /// Standard deviations that a share of draws may be off, for each of 2,000 ids.
  static let deviations = 5.0
}

/// Every filter gives the scores that transformers' processor of the same name gives, to the bit.
@Suite struct SamplerGoldenTests {
  static let rows = ["fine", "ties", "peaked", "flat"]

  private struct Case: Decodable {
    let temperature: Float?
    let topK: Int?
    let topP: Float?
    let minP: Float?
    let repetitionPenalty: Float?
    let bias: [String: Float]?

    enum CodingKeys: String, CodingKey {
      case temperature
      case topK = "top_k"
      case topP = "top_p"
      case minP = "min_p"
      case repetitionPenalty = "repetition_penalty"
      case bias = "logit_bias"
    }

    func settings() throws -> SamplingSettings {
      var bias: [Int32: Float] = [:]
      for (id, value) in self.bias ?? [:] { bias[try #require(Int32(id))] = value }
      return try SamplingSettings(
        temperature: temperature ?? 1, topK: topK ?? 0, topP: topP ?? 1, minP: minP ?? 0,
        repetitionPenalty: repetitionPenalty ?? 1, bias: bias)
    }
  }

  private func golden() throws -> SafetensorsDocument {
    let file = EngineFixture.goldens.appending(path: "samplers/samplers.safetensors")
    let document = try SafetensorsDocument(bytes: Array(Data(contentsOf: file)))
    try #require(document.metadata["magic"] == "corad-golden-samplers")
    let script = try Data(contentsOf: EngineFixture.goldens.appending(path: "record_samplers.py"))
    #expect(
      document.metadata["generator"] == Digest.sha256(of: Array(script)).hex,
      "the samplers were recorded by another script; record again")
    return document
  }

  @Test(arguments: rows) func `scores after the filters equal transformers`(_ row: String) throws {
    let golden = try golden()
    let cases = try JSONDecoder().decode(
      [Case].self, from: Data(try #require(golden.metadata["cases"]).utf8))
    let prompt = try golden.integers("prompt").map { Int32($0) }
    #expect(cases.count > 20)
    for (index, settings) in cases.enumerated() {
      var scores = try golden.floats("\(row).scores")
      let sampler = Sampler(try settings.settings(), prompt: prompt, seed: 0)
      scores.withUnsafeMutableBufferPointer { sampler.filter($0) }
      let expected = try golden.floats("\(row).\(index)")
      let wrong = scores.indices.filter { scores[$0] != expected[$0] }
      if cases[index].topP != nil, row == "ties" {
        // Which of equal scores are kept is left to an unstable sort there: as many, and no others, may differ.
        #expect(scores.sorted() == expected.sorted(), "case \(index)")
        #expect(Set(wrong.map { max(scores[$0], expected[$0]) }).count <= 1, "case \(index)")
      } else {
        #expect(wrong.isEmpty, "\(row), case \(index): \(settings): ids \(wrong)")
      }
    }
  }

  @Test(arguments: rows) func `presence and frequency penalties equal their formula`(_ row: String) throws {
    let golden = try golden()
    var scores = try golden.floats("\(row).scores")
    var counts: [Int32: Int] = [:]
    for id in try golden.integers("chosen") { counts[Int32(id), default: 0] += 1 }
    let presence = try #require(golden.metadata["presence_penalty"].flatMap { Float($0) })
    let frequency = try #require(golden.metadata["frequency_penalty"].flatMap { Float($0) })
    scores.withUnsafeMutableBufferPointer {
      ScoreFilters.presence($0, counts: counts, presence: presence, frequency: frequency)
    }
    #expect(scores == (try golden.floats("\(row).penalties")))
  }

  @Test(arguments: rows) func `log-probabilities equal torch`(_ row: String) throws {
    let golden = try golden()
    let expected = try golden.floats("\(row).logprobs")
    // They are the model's own, whatever the filters do afterwards.
    let settings = try SamplingSettings(temperature: 0.5, topK: 3, seed: 1, topLogprobs: 20)
    var sampler = Sampler(settings, prompt: [], seed: 0)
    var scores = try golden.floats("\(row).scores")
    let choice = scores.withUnsafeMutableBufferPointer { sampler.next($0) }
    #expect(abs(try #require(choice.logprob) - expected[Int(choice.id)]) <= Tolerance.logprob)
    let best = expected.indices.sorted { (expected[$0], -$0) > (expected[$1], -$1) }.prefix(20)
    #expect(choice.top.map { expected[Int($0.id)] } == best.map { expected[$0] })
    for top in choice.top { #expect(abs(top.logprob - expected[Int(top.id)]) <= Tolerance.logprob) }
  }

  @Test(arguments: rows) func `draws follow the filtered probabilities`(_ row: String) throws {
    let original = try golden().floats("\(row).scores")
    let settings = try SamplingSettings(temperature: 0.8, topP: 0.9, seed: 42)
    var filtered = original
    filtered.withUnsafeMutableBufferPointer { Sampler(settings, prompt: [], seed: 0).filter($0) }
    let top = Double(filtered.max() ?? 0)
    let weights = filtered.map { exp(Double($0) - top) }
    let sum = weights.reduce(0, +)
    var counts = [Int](repeating: 0, count: original.count)
    let draws = 20_000
    var sampler = Sampler(settings, prompt: [], seed: 0)
    for _ in 0..<draws {
      var scores = original
      counts[Int(scores.withUnsafeMutableBufferPointer { sampler.next($0).id })] += 1
    }
    for id in counts.indices {
      let (share, expected) = (Double(counts[id]) / Double(draws), weights[id] / sum)
      let deviation = (expected * (1 - expected) / Double(draws)).squareRoot()
      #expect(abs(share - expected) <= Tolerance.deviations * deviation, "id \(id)")
    }
  }

  @Test func `greedy takes the first of the best and counts for the penalties`() throws {
    var sampler = Sampler(
      try SamplingSettings(temperature: 0, presencePenalty: 1, frequencyPenalty: 0.5), prompt: [3], seed: 0)
    var chosen: [Int32] = []
    for _ in 0..<6 {
      var scores: [Float] = [0, 2, 2, 1, -1]
      chosen.append(scores.withUnsafeMutableBufferPointer { sampler.next($0).id })
    }
    // 2, 2, 1 fall to 0.5, 0.5, -0.5 with the first choice of each, then to 0, 0 with the second.
    #expect(chosen == [1, 2, 3, 1, 2, 0])
  }

  @Test func `a random number is a function of its seed and place`() {
    let (a, b) = (CounterRandom(seed: 1), CounterRandom(seed: 2))
    let first = (0..<1_000).map { a.uniform($0) }
    #expect(first == (0..<1_000).map { CounterRandom(seed: 1).uniform($0) })
    let second = (0..<1_000).map { b.uniform($0) }
    // No shift of one is the other.
    for shift in 0..<50 { #expect(zip(first.dropFirst(shift), second).allSatisfy { $0 != $1 }) }
    #expect((first + second).allSatisfy { (0..<1).contains($0) })
    #expect(abs(first.reduce(0, +) / 1_000 - 0.5) < 0.04)
  }

  /// A weight that is not a number spoils a text; it must not hold a lane for good.
  @Test func `scores that are not numbers end the filters`() {
    for place in 0..<4 {
      var scores: [Float] = [1, 0.5, -3, 0.25]
      scores[place] = .nan
      scores.withUnsafeMutableBufferPointer { scores in
        ScoreFilters.topK(scores, 3)
        ScoreFilters.topP(scores, 0.9)
        ScoreFilters.minP(scores, 0.1)
      }
      #expect(scores[place].isNaN)
    }
  }

  @Test func `a setting out of range is refused by name`() {
    func refuses(_ field: String, _ make: () throws -> SamplingSettings) {
      #expect {
        _ = try make()
      } throws: { error in
        (error as? SamplingError)?.field == field
      }
    }
    for temperature: Float in [0.001, -1, 101, .nan] {
      refuses("temperature") { try SamplingSettings(temperature: temperature) }
    }
    refuses("top_k") { try SamplingSettings(topK: -1) }
    for p: Float in [0, 1.01, .nan] { refuses("top_p") { try SamplingSettings(topP: p) } }
    for p: Float in [-0.1, 1.01, .nan] { refuses("min_p") { try SamplingSettings(minP: p) } }
    refuses("repetition_penalty") { try SamplingSettings(repetitionPenalty: 0) }
    refuses("presence_penalty") { try SamplingSettings(presencePenalty: 2.01) }
    refuses("frequency_penalty") { try SamplingSettings(frequencyPenalty: -2.01) }
    let many = Dictionary(uniqueKeysWithValues: (0..<1_025).map { (Int32($0), Float(1)) })
    for bias: [Int32: Float] in [[-1: 1], [1: 100.5], [1: .nan], many] {
      refuses("logit_bias") { try SamplingSettings(bias: bias) }
    }
    for count in [-1, 21] { refuses("top_logprobs") { try SamplingSettings(topLogprobs: count) } }
  }
}
