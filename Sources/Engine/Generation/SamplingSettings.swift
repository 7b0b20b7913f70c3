/// A setting of sampling outside what it may be.
public struct SamplingError: Error, Equatable, Sendable {
  /// The setting, by its name over HTTP.
  public let field: String
  /// What it may be, in words.
  public let allowed: String
}

/// How the next token is chosen from the scores of all. A value that cannot be wrong.
public struct SamplingSettings: Sendable, Equatable {
  /// What the settings may be at most.
  public enum Limit {
    public static let topLogprobs = 20
    public static let biases = 1_024
  }

  /// Divides the scores; 0 takes the best token always.
  public let temperature: Float
  /// Tokens that may be chosen, the best ones; 0 for all.
  public let topK: Int
  /// The best tokens whose probability together reaches it, in 0 < p ≤ 1.
  public let topP: Float
  /// Tokens whose probability is at least this part of the best one's, in 0 ... 1.
  public let minP: Float
  /// Above 1 makes tokens of the prompt and of the text less likely, below 1 more.
  public let repetitionPenalty: Float
  /// Subtracted from the score of a token that the text has, in -2 ... 2.
  public let presencePenalty: Float
  /// Subtracted for every time that the text has it, in -2 ... 2.
  public let frequencyPenalty: Float
  /// Added to the scores of these tokens, each in -100 ... 100.
  public let bias: [Int32: Float]
  /// The same seed gives the same text; nil draws one.
  public let seed: UInt64?
  /// Whether a token comes with its log-probability, and with how many of the most probable ones; nil for neither.
  public let topLogprobs: Int?

  /// - Throws: the setting that is out of range.
  public init(
    temperature: Float = 1, topK: Int = 0, topP: Float = 1, minP: Float = 0, repetitionPenalty: Float = 1,
    presencePenalty: Float = 0, frequencyPenalty: Float = 0, bias: [Int32: Float] = [:], seed: UInt64? = nil,
    topLogprobs: Int? = nil
  ) throws(SamplingError) {
    func require(_ holds: Bool, _ field: String, _ allowed: String) throws(SamplingError) {
      guard holds else { throw SamplingError(field: field, allowed: allowed) }
    }
    // Below 0.01 scores of ordinary models leave float32's exponent.
    try require(
      temperature == 0 || (0.01...100).contains(temperature), "temperature", "0, or 0.01 through 100")
    try require(topK >= 0, "top_k", "0 or more")
    try require(topP > 0 && topP <= 1, "top_p", "above 0, at most 1")
    try require((0...1).contains(minP), "min_p", "0 through 1")
    try require((0.01...100).contains(repetitionPenalty), "repetition_penalty", "0.01 through 100")
    try require((-2...2).contains(presencePenalty), "presence_penalty", "-2 through 2")
    try require((-2...2).contains(frequencyPenalty), "frequency_penalty", "-2 through 2")
    try require(
      bias.count <= Limit.biases && bias.allSatisfy { $0.key >= 0 && (-100...100).contains($0.value) },
      "logit_bias", "at most \(Limit.biases) token ids, each with -100 through 100")
    try require(
      (0...Limit.topLogprobs).contains(topLogprobs ?? 0), "top_logprobs", "0 through \(Limit.topLogprobs)")
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.repetitionPenalty = repetitionPenalty
    self.presencePenalty = presencePenalty
    self.frequencyPenalty = frequencyPenalty
    self.bias = bias
    self.seed = seed
    self.topLogprobs = topLogprobs
  }

  private init(temperature: Float) {
    self.temperature = temperature
    (topK, topP, minP) = (0, 1, 0)
    (repetitionPenalty, presencePenalty, frequencyPenalty) = (1, 0, 0)
    (bias, seed, topLogprobs) = ([:], nil, nil)
  }

  /// The best token always.
  public static let greedy = SamplingSettings(temperature: 0)
}
