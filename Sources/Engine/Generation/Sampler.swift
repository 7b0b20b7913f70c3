internal import Foundation

/// A token and the natural logarithm of its probability.
public struct TokenLogprob: Sendable, Equatable {
  public let id: Int32
  public let logprob: Float

  public init(id: Int32, logprob: Float) {
    self.id = id
    self.logprob = logprob
  }
}

/// Numbers that are a function of a seed and a place alone: SplitMix64 as a counter. Not for secrets.
struct CounterRandom: Sendable {
  let seed: UInt64

  /// In 0 ..< 1, 53 bits of it.
  func uniform(_ place: UInt64) -> Double {
    // Mixed once before the counter is added, so that neighbouring seeds do not give shifted streams.
    let z = Self.mixed(Self.mixed(seed) &+ (place &+ 1) &* 0x9e37_79b9_7f4a_7c15)
    return Double(z >> 11) * 0x1p-53
  }

  private static func mixed(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Chooses the tokens of one text. What it chooses is a function of the settings, the seed, the prompt and the scores;
/// the number of the token is the place of its random number, so a text that is computed anew goes on as before.
struct Sampler: Sendable {
  struct Choice: Sendable, Equatable {
    let id: Int32
    /// Of the model's own scores, before any filter; nil where it was not asked for.
    let logprob: Float?
    /// The most probable ones, best first.
    let top: [TokenLogprob]
  }

  private let settings: SamplingSettings
  private let random: CounterRandom
  private var chosen: UInt64 = 0
  /// Times that the text has a token; kept where a penalty asks.
  private var counts: [Int32: Int] = [:]
  /// Tokens of prompt and text; kept where the repetition penalty asks.
  private var seen: Set<Int32> = []

  init(_ settings: SamplingSettings, prompt: [Int32], seed: UInt64) {
    self.settings = settings
    random = CounterRandom(seed: settings.seed ?? seed)
    if settings.repetitionPenalty != 1 { seen = Set(prompt) }
  }

  /// Chooses a token and counts it. `scores` `[vocabulary]` are overwritten.
  mutating func next(_ scores: ScoreFilters.Scores) -> Choice {
    let logprobs = settings.topLogprobs.map { Logprobs(scores, top: $0) }
    filter(scores)
    let id = settings.temperature == 0 ? Self.best(scores) : draw(scores)
    chosen += 1
    if settings.presencePenalty != 0 || settings.frequencyPenalty != 0 { counts[Int32(id), default: 0] += 1 }
    if settings.repetitionPenalty != 1 { seen.insert(Int32(id)) }
    return Choice(id: Int32(id), logprob: logprobs?.of(id), top: logprobs?.top ?? [])
  }

  /// The scores that the choice is made from.
  func filter(_ scores: ScoreFilters.Scores) {
    ScoreFilters.bias(scores, settings.bias)
    ScoreFilters.repetition(scores, of: seen, penalty: settings.repetitionPenalty)
    ScoreFilters.presence(
      scores, counts: counts, presence: settings.presencePenalty, frequency: settings.frequencyPenalty)
    guard settings.temperature > 0 else { return }
    ScoreFilters.temperature(scores, settings.temperature)
    ScoreFilters.topK(scores, settings.topK)
    ScoreFilters.topP(scores, settings.topP)
    ScoreFilters.minP(scores, settings.minP)
  }

  /// The first of the greatest.
  static func best(_ scores: ScoreFilters.Scores) -> Int {
    var best = 0
    for index in scores.indices where scores[index] > scores[best] { best = index }
    return best
  }

  /// The first token in order of ids up to which more than a random part of the probability lies.
  private func draw(_ scores: ScoreFilters.Scores) -> Int {
    let best = Self.best(scores)
    let top = scores[best]
    guard top.isFinite else { return best }
    var whole = 0.0
    for score in scores where score > -.infinity { whole += ScoreFilters.weight(score, top) }
    let target = random.uniform(chosen) * whole
    var sum = 0.0
    for index in scores.indices where scores[index] > -.infinity {
      sum += ScoreFilters.weight(scores[index], top)
      if sum > target { return index }
    }
    return best
  }
}

/// Logarithms of the softmax of one row of scores.
private struct Logprobs {
  private let scores: [Float]
  private let normaliser: Double
  let top: [TokenLogprob]

  init(_ scores: ScoreFilters.Scores, top count: Int) {
    let greatest = scores[Sampler.best(scores)]
    let sum = scores.reduce(into: 0.0) { $0 += ScoreFilters.weight($1, greatest) }
    let normaliser = Double(greatest) + log(sum)
    // In order, at most `count`; of equal ones the first.
    var best: [Int] = []
    for index in scores.indices {
      guard best.count < count || (best.last.map { scores[index] > scores[$0] } ?? false) else { continue }
      best.insert(index, at: best.firstIndex { scores[index] > scores[$0] } ?? best.endIndex)
      if best.count > count { best.removeLast() }
    }
    top = best.map { TokenLogprob(id: Int32($0), logprob: Float(Double(scores[$0]) - normaliser)) }
    self.scores = Array(scores)
    self.normaliser = normaliser
  }

  func of(_ id: Int) -> Float { Float(Double(scores[id]) - normaliser) }
}
