public import Adapters
public import Models
internal import Synchronization
public import Tokenizers

/// Continues texts of many tasks at once on the compute lanes: requests join and leave between steps.
///
/// Each shard has its own rows, pages and prefixes and runs one packed forward pass a step; shards run side by side, as
/// many as there are lanes. A request stays on one shard from its arrival to its end.
public final class GenerationExecutor: Sendable {
  /// Limits over all shards.
  public struct Configuration: Sendable, Equatable {
    /// Requests that run at once.
    public var rows = 32
    /// Requests that are open at once, running or waiting.
    public var openRequests = 256
    /// Tokens of prompts in a step in which no answer waits for its next token.
    public var chunkTokens = 96
    /// Keys and values, prefixes included.
    public var cacheBytes = 1 << 30
    /// Of them, what is kept for requests that begin as earlier ones did; 0 keeps nothing.
    public var prefixBytes = 1 << 28
    /// Tokens of a page, a multiple of 16.
    public var pageTokens = 32
    /// nil: as many as there are lanes. Rows and bytes are divided among them.
    public var shards: Int?

    public init() {}
  }

  private struct State {
    var nextID: UInt64 = 0
    var open = 0
    var isDraining = false
    /// Who waits until no request is open.
    var drained: [CheckedContinuation<Void, Never>] = []
    var primary: ResidentSubspace?
    var random = SystemRandomNumberGenerator()

    /// Who waits for the end, once it is there.
    mutating func takeDrained() -> [CheckedContinuation<Void, Never>] {
      guard isDraining, open == 0 else { return [] }
      defer { drained = [] }
      return drained
    }
  }

  public let configuration: Configuration
  private let decoder: Decoder
  private let hasTokenizer: Bool
  private let shards: [GenerationShard]
  private let state: StateBox

  /// Shared by the executor and its shards.
  private final class StateBox: Sendable {
    let state: Mutex<State>
    init(primary: ResidentSubspace?) { state = Mutex(State(primary: primary)) }

    func ended(_ count: Int) {
      let waiting = state.withLock { state in
        state.open -= count
        return state.takeDrained()
      }
      for continuation in waiting { continuation.resume() }
    }
  }

  /// - Parameters:
  ///   - tokenizer: the base's; without it tokens come without text.
  ///   - primary: the subspace whose B rides in the base's products.
  public init(
    decoder: Decoder, tokenizer: Tokenizer?, lanes: ComputeLanes, primary: ResidentSubspace? = nil,
    configuration: Configuration = .init()
  ) {
    self.decoder = decoder
    self.configuration = configuration
    hasTokenizer = tokenizer != nil
    let state = StateBox(primary: primary)
    self.state = state
    let count = max(1, configuration.shards ?? lanes.count)
    shards = (0..<count).map { _ in
      GenerationShard(
        GenerationCore(
          decoder: decoder, tokenizer: tokenizer, rows: max(1, configuration.rows / count),
          chunkTokens: configuration.chunkTokens, cacheBytes: configuration.cacheBytes / count,
          prefixBytes: configuration.prefixBytes / count, pageTokens: configuration.pageTokens),
        lanes: lanes, primary: { state.state.withLock { $0.primary } }, ended: { state.ended($0) })
    }
  }

  /// What all shards hold and have done.
  public var figures: GenerationFigures {
    shards.map(\.figures).reduce(GenerationFigures(), +)
  }

  /// Requests that have not ended.
  public var open: Int { state.state.withLock { $0.open } }

  /// Lets another subspace's B ride in the base's products from the next step on; no row's bits depend on which.
  public func setPrimary(_ subspace: ResidentSubspace?) {
    state.state.withLock { $0.primary = subspace }
  }

  /// Starts a request. Letting its stream go, or cancelling the task that reads it, cancels the request: its row and
  /// pages are free by the next step.
  ///
  /// - Returns: tokens as they are chosen, then `.finished`.
  /// - Throws: why it is not taken; nothing is held then.
  public func submit(_ request: GenerationRequest) throws(GenerationError) -> AsyncStream<GenerationEvent> {
    // As many events as the request may have tokens: bounded by `maxTokens`.
    let (stream, continuation) = AsyncStream.makeStream(of: GenerationEvent.self)
    let ticket = try submit(request) { event in
      if case .terminated = continuation.yield(event) { return false }
      if case .finished = event { continuation.finish() }
      return true
    }
    continuation.onTermination = { if case .cancelled = $0 { ticket.cancel() } }
    return stream
  }

  /// Starts a request whose events go to `send`: tokens as they are chosen, then `.finished`. It is called on a lane, one
  /// call at a time, must not wait, and cancels the request where it answers false to a token.
  ///
  /// - Throws: why it is not taken; `send` is not called then.
  public func submit(
    _ request: GenerationRequest, send: @escaping @Sendable (GenerationEvent) -> Bool
  ) throws(GenerationError) -> GenerationTicket {
    let maxTokens = try check(request)
    let (id, seed) = try state.state.withLock { (state) throws(GenerationError) in
      guard !state.isDraining else { throw .draining }
      guard state.open < configuration.openRequests else {
        throw .overloaded(open: state.open, limit: configuration.openRequests)
      }
      state.open += 1
      state.nextID += 1
      return (state.nextID, state.random.next())
    }
    let shard = shard(for: request)
    shard.add(.init(id: id, request: request, maxTokens: maxTokens, seed: seed, send: send))
    return GenerationTicket(shard: shard, id: id)
  }

  /// Takes no new request and returns when the last one has ended.
  public func drain() async {
    beginDrain()
    await drained()
  }

  /// Takes no new request from now on.
  public func beginDrain() {
    let waiting = state.state.withLock { state in
      state.isDraining = true
      return state.takeDrained()
    }
    for continuation in waiting { continuation.resume() }
  }

  /// Returns when no new request is taken and the last one has ended.
  public func drained() async {
    await withCheckedContinuation { continuation in
      let waiting = state.state.withLock { state in
        state.drained.append(continuation)
        return state.takeDrained()
      }
      for continuation in waiting { continuation.resume() }
    }
  }

  /// Ends every request as cancelled, by the next step.
  public func cancelAll() {
    for shard in shards { shard.cancelAll() }
  }

  /// Tokens that prompt and answer may have together: the base's context, or what a shard's cache has room for.
  public var limitTokens: Int { min(decoder.configuration.positions, shards[0].limitTokens) }

  /// Tokens to generate at most.
  private func check(_ request: GenerationRequest) throws(GenerationError) -> Int {
    let vocabulary = decoder.configuration.vocabularySize
    guard !request.prompt.isEmpty else { throw .emptyPrompt }
    if let id = request.prompt.first(where: { $0 < 0 || Int($0) >= vocabulary })
      ?? request.sampling.bias.keys.filter({ Int($0) >= vocabulary }).min()
    {
      throw .unknownToken(id: id, vocabulary: vocabulary)
    }
    guard hasTokenizer || request.stopStrings.isEmpty else { throw .noTokenizer }
    let positions = decoder.configuration.positions
    let limit = min(positions, shards[0].limitTokens)
    let maxTokens = request.maxTokens ?? max(1, limit - request.prompt.count)
    guard maxTokens > 0 else { throw .noTokens(maxTokens: maxTokens) }
    func exceeds(_ limit: Int) -> Bool {
      request.prompt.count >= limit || maxTokens > limit - request.prompt.count
    }
    if exceeds(positions) {
      throw .contextExceeded(promptTokens: request.prompt.count, maxTokens: maxTokens, limit: positions)
    }
    if exceeds(limit) {
      throw .cacheExceeded(promptTokens: request.prompt.count, maxTokens: maxTokens, limit: limit)
    }
    return maxTokens
  }

  /// The least busy shard; of equally busy ones the one that requests with this beginning go to, for it has their pages.
  private func shard(for request: GenerationRequest) -> GenerationShard {
    var hasher = Hasher()
    hasher.combine(request.version)
    hasher.combine(request.principal)
    hasher.combine(Array(request.prompt.prefix(configuration.pageTokens)))
    let preferred = Int(UInt(bitPattern: hasher.finalize()) % UInt(shards.count))
    let loads = shards.map(\.open)
    let least = loads.indices.min { loads[$0] < loads[$1] } ?? preferred
    return shards[loads[preferred] > loads[least] ? least : preferred]
  }
}

/// A request that was taken.
public struct GenerationTicket: Sendable {
  let shard: GenerationShard
  let id: UInt64

  /// Ends the request: its row and pages are free by the next step. Nothing where it has ended.
  public func cancel() { shard.cancel(id) }
}
