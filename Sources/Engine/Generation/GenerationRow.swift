internal import Adapters
internal import Models
internal import Tokenizers

/// A request from its arrival to its end: its tokens, keys and values, and the text so far. Its shard's alone.
final class GenerationRow {
  let id: UInt64
  let request: GenerationRequest
  /// Tokens to generate at most.
  let maxTokens: Int
  let scope: PrefixStore.Scope
  private let send: @Sendable (GenerationEvent) -> Bool
  /// Rows of one adapter are neighbours in a step.
  let order: (subspace: String, version: String)
  /// The prompt's, then the chosen ones.
  private(set) var tokens: [Int32]
  /// nil while it waits for its pages.
  var sequence: KVSequence?
  /// Numbers of its pages in the prefix store, from the text's start on.
  var chain: [Int] = []
  /// Of the prompt, when it was first started; nil before.
  var reusedTokens: Int?
  private var sampler: Sampler
  private var text: TextStream?
  private var stops: StopStrings

  init(_ arrival: GenerationShard.Arrival, tokenizer: Tokenizer?) {
    let request = arrival.request
    id = arrival.id
    self.request = request
    maxTokens = arrival.maxTokens
    scope = PrefixStore.Scope(version: request.version, principal: request.principal)
    send = arrival.send
    order = (request.subspace.map { "\($0.digest)" } ?? "", request.version)
    tokens = request.prompt
    sampler = Sampler(request.sampling, prompt: request.prompt, seed: arrival.seed)
    text = tokenizer?.stream(skippingSpecial: request.skipsSpecialTokens)
    stops = StopStrings(request.stopStrings)
  }

  var generated: Int { tokens.count - request.prompt.count }

  /// Chooses the next token and sends it.
  /// - Parameter scores: `[vocabulary]`, overwritten.
  /// - Returns: why the text ends here; nil where it goes on.
  func advance(_ scores: ScoreFilters.Scores) -> FinishReason? {
    let choice = sampler.next(scores)
    tokens.append(choice.id)
    if request.endTokens.contains(choice.id) { return .stop }
    let piece = stops.append(text?.append(choice.id) ?? "")
    let token = GeneratedToken(id: choice.id, text: piece, logprob: choice.logprob, top: choice.top)
    guard send(.token(token)) else { return .cancelled }
    if stops.match != nil { return .stop }
    return generated >= maxTokens ? .length : nil
  }

  /// Sends the end.
  func finish(_ reason: FinishReason) {
    var rest = stops.append(text?.finish() ?? "")
    rest += stops.finish()
    // The text's last characters may complete a stop string.
    let reason = reason == .length && stops.match != nil ? .stop : reason
    let usage = GenerationUsage(
      promptTokens: request.prompt.count, reusedTokens: reusedTokens ?? 0, completionTokens: generated)
    _ = send(.finished(GenerationEnd(reason: reason, text: rest, stopString: stops.match, usage: usage)))
  }
}
