internal import Engine
internal import Synchronization
internal import Tokenizers

/// An answer between the lane that writes it and whoever pulls it. What waits to be pulled is bounded by the request's
/// tokens. An answer that nobody holds any more is given up.
final class WriterPieces: WrittenPieces {
  private enum Item {
    case token(GeneratedToken)
    /// What of the text was held back until its end.
    case rest(String)
    case end(FinishReason, WritingUsage)
  }

  private struct State {
    var items: [Item] = []
    var next = 0
    /// Why nothing comes any more.
    var failure: ServingError?
    /// Nothing more is taken.
    var isOver = false
    var ticket: GenerationTicket?
    var waiter: CheckedContinuation<Void, Never>?

    mutating func take() -> Item? {
      guard next < items.count else { return nil }
      defer {
        next += 1
        if next == items.count { (items, next) = ([], 0) }
      }
      return items[next]
    }

    mutating func fail(_ error: ServingError) {
      if !isOver { (failure, isOver) = (error, true) }
    }

    mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
      defer { waiter = nil }
      return waiter
    }
  }

  private let state = Mutex(State())
  private let tokenizer: Tokenizer
  private let withTokens: Bool
  private let deadline: Int64
  private let limitMilliseconds: Int
  private let expired: @Sendable () -> Void

  /// - Parameters:
  ///   - withTokens: tokens and their log-probabilities come with the text.
  ///   - deadline: in `Clock.nanoseconds`; `limitMilliseconds` is what was allowed until there.
  ///   - expired: called once, if the deadline passes first.
  init(
    tokenizer: Tokenizer, withTokens: Bool, deadline: Int64, limitMilliseconds: Int,
    expired: @escaping @Sendable () -> Void
  ) {
    self.tokenizer = tokenizer
    self.withTokens = withTokens
    self.deadline = deadline
    self.limitMilliseconds = limitMilliseconds
    self.expired = expired
  }

  deinit { state.withLock { $0.isOver ? nil : $0.ticket }?.cancel() }

  /// What is cancelled when the answer is given up.
  func attach(_ ticket: GenerationTicket) {
    let isOver = state.withLock { state in
      state.ticket = ticket
      return state.isOver
    }
    if isOver { ticket.cancel() }
  }

  /// Takes what the lane has written; false: it need not go on.
  func put(_ event: GenerationEvent) -> Bool {
    let isLate = Clock.nanoseconds() >= deadline
    let (goesOn, hasExpired, waiter) = state.withLock { state in
      guard !state.isOver else { return (false, false, nil as CheckedContinuation<Void, Never>?) }
      switch event {
      case .token where isLate:
        state.fail(.deadlineExceeded(milliseconds: limitMilliseconds))
        return (false, true, state.takeWaiter())
      case .finished(let end) where end.reason == .cancelled: state.fail(.cancelled)
      case .finished(let end):
        if !end.text.isEmpty { state.items.append(.rest(end.text)) }
        state.items.append(.end(end.reason == .length ? .length : .stop, WritingUsage(end.usage)))
        state.isOver = true
      case .token(let token): state.items.append(.token(token))
      }
      return (true, false, state.takeWaiter())
    }
    if hasExpired { expired() }
    waiter?.resume()
    return goesOn
  }

  func next(waitMilliseconds: Int) async throws(ServingError) -> WrittenPiece {
    let until = min(deadline, Clock.nanoseconds() + Int64(waitMilliseconds) * 1_000_000)
    while true {
      if let piece = try piece() { return piece }
      let now = Clock.nanoseconds()
      guard now < until else {
        guard now >= deadline else { return .nothing }
        try expire()
        continue
      }
      await pause(nanoseconds: until - now)
    }
  }

  /// The next piece that is there, if any.
  private func piece() throws(ServingError) -> WrittenPiece? {
    while true {
      let (item, failure) = state.withLock { state in
        let item = state.take()
        return (item, item == nil ? state.failure : nil)
      }
      if let failure { throw failure }
      switch item {
      case nil: return nil
      // A token whose text cannot be told yet says nothing, unless its probability was asked for.
      case .token(let token) where token.text.isEmpty && !withTokens: continue
      case .token(let token): return .text(token.text, tokens: withTokens ? [written(token)] : [])
      case .rest(let text): return .text(text, tokens: [])
      case .end(let reason, let usage):
        state.withLock { $0.failure = .cancelled }
        return .end(reason, usage)
      }
    }
  }

  private func written(_ token: GeneratedToken) -> WrittenToken {
    func probability(_ id: Int32, _ logprob: Float) -> TokenProbability {
      TokenProbability(id: id, bytes: tokenizer.textBytes(of: id) ?? [], logProbability: logprob)
    }
    return WrittenToken(
      chosen: probability(token.id, token.logprob ?? 0),
      best: token.top.map { probability($0.id, $0.logprob) })
  }

  /// - Throws: `.deadlineExceeded`, unless the answer has ended meanwhile.
  private func expire() throws(ServingError) {
    let (hasExpired, ticket) = state.withLock { state in
      guard !state.isOver else { return (false, nil as GenerationTicket?) }
      state.fail(.deadlineExceeded(milliseconds: limitMilliseconds))
      return (true, state.ticket)
    }
    guard hasExpired else { return }
    expired()
    ticket?.cancel()
    throw .deadlineExceeded(milliseconds: limitMilliseconds)
  }

  func cancel() {
    let (ticket, waiter) = state.withLock { state in
      let isOpen = !state.isOver
      state.fail(.cancelled)
      return (isOpen ? state.ticket : nil, state.takeWaiter())
    }
    ticket?.cancel()
    waiter?.resume()
  }

  /// Returns when something was put, when the answer was given up, or after so long.
  private func pause(nanoseconds: Int64) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        try? await Task.sleep(for: .nanoseconds(nanoseconds))
        self.state.withLock { $0.takeWaiter() }?.resume()
      }
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isReady = state.withLock { state in
            let isReady = state.next < state.items.count || state.isOver
            if !isReady { state.waiter = continuation }
            return isReady
          }
          if isReady { continuation.resume() }
        }
      } onCancel: {
        cancel()
      }
      group.cancelAll()
    }
  }
}

extension WritingUsage {
  fileprivate init(_ usage: GenerationUsage) {
    self.init(
      promptTokens: usage.promptTokens, cachedTokens: usage.reusedTokens,
      writtenTokens: usage.completionTokens)
  }
}
