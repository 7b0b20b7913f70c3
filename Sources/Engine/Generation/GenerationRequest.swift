public import Adapters

/// A text to be continued. What it needs is leased: nothing of it changes while it runs.
public struct GenerationRequest: Sendable {
  /// Token ids, with the special ones that the model wants.
  public let prompt: [Int32]
  /// Tokens to generate at most; nil for what the context has room for.
  public let maxTokens: Int?
  public let sampling: SamplingSettings
  /// Tokens that end the text, themselves no part of it.
  public let endTokens: Set<Int32>
  /// Strings that end the text, themselves no part of it.
  public let stopStrings: [String]
  /// nil: the bare base.
  public let adapter: ResidentAdapter?
  /// The subspace that the adapter uses; nil when it has a B of its own everywhere.
  public let subspace: ResidentSubspace?
  /// The version's digest, empty for the bare base: keys and values are shared inside one version alone.
  public let version: String
  /// Whose version it is, for the figures; empty for the bare base.
  public let task: String
  /// Who asks: steps are shared fairly between principals, prefixes within one.
  public let principal: String
  /// Special tokens are no part of the text.
  public let skipsSpecialTokens: Bool

  public init(
    prompt: [Int32], maxTokens: Int? = nil, sampling: SamplingSettings = .greedy,
    endTokens: Set<Int32> = [], stopStrings: [String] = [], adapter: ResidentAdapter? = nil,
    subspace: ResidentSubspace? = nil, version: String = "", task: String = "", principal: String = "",
    skipsSpecialTokens: Bool = true
  ) {
    self.prompt = prompt
    self.maxTokens = maxTokens
    self.sampling = sampling
    self.endTokens = endTokens
    self.stopStrings = stopStrings
    self.adapter = adapter
    self.subspace = subspace
    self.version = version
    self.task = task
    self.principal = principal
    self.skipsSpecialTokens = skipsSpecialTokens
  }
}

/// Why a request is not taken.
public enum GenerationError: Error, Equatable, Sendable {
  case emptyPrompt
  /// An id that the base's vocabulary does not have, in the prompt or with a bias.
  case unknownToken(id: Int32, vocabulary: Int)
  /// Fewer than one token is asked for.
  case noTokens(maxTokens: Int)
  /// Prompt and new tokens are more than the base's context.
  case contextExceeded(promptTokens: Int, maxTokens: Int, limit: Int)
  /// Prompt and new tokens are more than a shard's cache of keys and values has room for.
  case cacheExceeded(promptTokens: Int, maxTokens: Int, limit: Int)
  /// Stop strings need the base's tokenizer.
  case noTokenizer
  /// As many requests are open as may be.
  case overloaded(open: Int, limit: Int)
  /// No new request is taken any more.
  case draining
}

/// What a request's stream brings: tokens, then one end.
public enum GenerationEvent: Sendable, Equatable {
  case token(GeneratedToken)
  case finished(GenerationEnd)
}

/// One chosen token.
public struct GeneratedToken: Sendable, Equatable {
  public let id: Int32
  /// What of the text can be told now: perhaps nothing, and never part of a character or of what may become a stop
  /// string. All pieces together, the end's included, are the text.
  public let text: String
  /// By the model's own scores, before any setting changed them; nil where it was not asked for.
  public let logprob: Float?
  /// The most probable tokens, best first.
  public let top: [TokenLogprob]
}

public enum FinishReason: String, Sendable {
  /// An end token or a stop string.
  case stop
  /// `maxTokens`, or the context's end.
  case length
  case cancelled
}

public struct GenerationUsage: Sendable, Equatable {
  public let promptTokens: Int
  /// Of the prompt's tokens, those whose keys and values were kept from before.
  public let reusedTokens: Int
  /// Chosen tokens; an end token counts.
  public let completionTokens: Int
}

public struct GenerationEnd: Sendable, Equatable {
  public let reason: FinishReason
  /// The rest of the text.
  public let text: String
  /// The stop string that ended it.
  public let stopString: String?
  public let usage: GenerationUsage
}
