internal import Adapters
internal import Engine
internal import Models
internal import Scheduling
internal import Synchronization
internal import Tokenizers

/// A decoder base at writing: its executor, the conversation templates, and what is counted of both.
final class Writer: Sendable {
  private struct State {
    var rate = DrainRate()
    /// Since when requests end one after the other: the last end, or the first request after a pause.
    var since: Int64 = 0
    var refused = 0
    var expired = 0
  }

  let chat: ChatPrompts
  private let executor: GenerationExecutor
  private let tokenizer: Tokenizer
  private let endTokens: Set<Int32>
  private let state = Mutex(State())

  init(_ decoder: Decoder, _ folder: ModelFolder, lanes: ComputeLanes, _ configuration: ServingConfiguration)
  {
    var limits = GenerationExecutor.Configuration()
    limits.openRequests = configuration.openWritings
    limits.cacheBytes = configuration.keyValueCacheBytes
    limits.prefixBytes = configuration.keyValueCacheBytes / 4
    executor = GenerationExecutor(
      decoder: decoder, tokenizer: folder.tokenizer, lanes: lanes, configuration: limits)
    tokenizer = folder.tokenizer
    endTokens = Set(folder.checkpoint.endTokenIDs.map { Int32(clamping: $0) })
    chat = ChatPrompts(folder.chat)
  }

  /// Tokens that a prompt and its answer may have together.
  var limitTokens: Int { executor.limitTokens }

  /// Lets a subspace's B ride in the base's products.
  func setPrimary(_ subspace: ResidentSubspace?) { executor.setPrimary(subspace) }

  /// Whether a request more would be taken now: asked before anything is tokenised.
  func admit() throws(ServingError) {
    let open = executor.open
    if open >= executor.configuration.openRequests {
      throw overloaded(open: open, limit: executor.configuration.openRequests)
    }
  }

  /// Starts to write.
  ///
  /// - Parameters:
  ///   - lease: who writes; its version and its adapter stay until the end.
  ///   - deadline: in `Clock.nanoseconds`, `limitMilliseconds` after the request's start.
  func start(
    _ prompt: [Int32], _ request: WritingRequest, _ lease: Node.Lease, principal: Principal, deadline: Int64,
    limitMilliseconds: Int
  ) throws(ServingError) -> WriterPieces {
    let options = request.options
    let pieces = WriterPieces(
      tokenizer: tokenizer, withTokens: options.logProbabilities != nil, deadline: deadline,
      limitMilliseconds: limitMilliseconds,
      expired: { [weak self] in self?.state.withLock { $0.expired += 1 } })
    let order = GenerationRequest(
      prompt: prompt, maxTokens: options.maxTokens, sampling: try SamplingSettings(request),
      endTokens: endTokens, stopStrings: options.stop, adapter: lease.adapter, subspace: lease.subspace,
      version: lease.digest, task: lease.adapter == nil ? "" : lease.task, principal: principal.name)
    let now = Clock.nanoseconds()
    if executor.open == 0 { state.withLock { $0.since = now } }
    do throws(GenerationError) {
      pieces.attach(
        try executor.submit(order) { [weak self, weak pieces] event in
          if case .finished = event { self?.ended() }
          return pieces?.put(event) ?? false
        })
    } catch {
      throw problem(error, request)
    }
    return pieces
  }

  /// The most probable tokens after prompts that are written at once, with the bits of their probabilities.
  ///
  /// - Parameter prompts: each with fewer tokens than `limitTokens`.
  func continuations(of prompts: [[Int32]]) async throws(GenerationError) -> [[GeneratedToken]] {
    var streams: [AsyncStream<GenerationEvent>] = []
    for prompt in prompts {
      streams.append(
        try executor.submit(
          GenerationRequest(
            prompt: prompt, maxTokens: min(4, limitTokens - prompt.count),
            sampling: (try? SamplingSettings(temperature: 0, topLogprobs: 0)) ?? .greedy)))
    }
    var written: [[GeneratedToken]] = []
    for stream in streams {
      var tokens: [GeneratedToken] = []
      for await case .token(let token) in stream { tokens.append(token) }
      written.append(tokens)
    }
    return written
  }

  /// Takes no new request.
  func beginDrain() { executor.beginDrain() }

  /// Returns when it was drained and the last answer has ended. Cancelling drains.
  func serve() async {
    await withTaskCancellationHandler {
      await executor.drained()
    } onCancel: {
      executor.beginDrain()
    }
  }

  var figures: WritingFigures {
    let figures = executor.figures
    let (refused, expired) = state.withLock { ($0.refused, $0.expired) }
    return WritingFigures(
      running: figures.running, waiting: figures.waiting, tasksRunning: figures.tasksRunning,
      tasksWaiting: figures.tasksWaiting, refused: refused, expired: expired,
      pages: figures.pages, prefixPages: figures.prefixPages, residentBytes: figures.residentBytes,
      steps: figures.steps, promptTokens: figures.promptTokens, reusedTokens: figures.reusedTokens,
      writtenTokens: figures.generatedTokens, preemptions: figures.preemptions)
  }

  private func ended() {
    let now = Clock.nanoseconds()
    state.withLock { state in
      state.rate.record(rows: 1, seconds: Double(now - state.since) / 1e9)
      state.since = now
    }
  }

  private func overloaded(open: Int, limit: Int) -> ServingError {
    let seconds = state.withLock { state in
      state.refused += 1
      return state.rate.secondsUntilDrained(rows: open - limit + 1)
    }
    return .overloaded(depth: open, limit: limit, retryAfterSeconds: seconds)
  }

  private func problem(_ error: GenerationError, _ request: WritingRequest) -> ServingError {
    func field(_ pointer: String, _ detail: String, _ allowed: String?) -> ServingError {
      .validation([FieldError(pointer, detail, allowed: allowed)])
    }
    let options = request.optionsPointer
    switch error {
    case .emptyPrompt: return field(request.pointer, "has no tokens", "another prompt")
    case .unknownToken(let id, let vocabulary):
      let ids: [Int32] = if case .tokens(let ids) = request.prompt { ids } else { [] }
      let pointer =
        ids.firstIndex(of: id).map { "\(request.pointer)/\($0)" } ?? "\(options)/logit_bias/\(id)"
      return field(pointer, "is no token of the base", "0 through \(vocabulary - 1)")
    case .noTokens(let maxTokens): return field("\(options)/max_tokens", "is \(maxTokens)", "1 or more")
    case .contextExceeded(let prompt, let maxTokens, let limit),
      .cacheExceeded(let prompt, let maxTokens, let limit):
      // One token of the limit is the answer's.
      guard prompt < limit else {
        return .textTooLong(pointer: request.pointer, tokens: prompt, limit: limit - 1)
      }
      return field(
        "\(options)/max_tokens", "is \(maxTokens), and the prompt has \(prompt) of \(limit) tokens",
        "1 through \(limit - prompt)")
    case .noTokenizer: return .internal(cause: "the executor has no tokenizer")
    case .overloaded(let open, let limit): return overloaded(open: open, limit: limit)
    case .draining: return .draining
    }
  }
}

extension SamplingSettings {
  /// - Throws: `.validation` naming the field.
  fileprivate init(_ request: WritingRequest) throws(ServingError) {
    let options = request.options
    do throws(SamplingError) {
      try self.init(
        temperature: options.temperature, topK: options.topK ?? 0,
        // No probability at all still leaves the most probable token.
        topP: max(options.topP, .leastNormalMagnitude), minP: options.minP,
        repetitionPenalty: options.repetitionPenalty, presencePenalty: options.presencePenalty,
        frequencyPenalty: options.frequencyPenalty, bias: options.logitBias, seed: options.seed,
        topLogprobs: options.logProbabilities)
    } catch {
      throw .validation([
        FieldError("\(request.optionsPointer)/\(error.field)", "is out of range", allowed: error.allowed)
      ])
    }
  }
}
