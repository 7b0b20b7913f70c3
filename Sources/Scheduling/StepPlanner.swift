/// Continuous batching at the level of tokens: which requests run, and which tokens of each one the next step computes.
/// A value; it knows no clock, no thread, no text and no cache.
///
/// Requests join and leave between steps. A running request whose next token is chosen from the one before takes one
/// token a step, always. Prompts are cut: those that are not computed yet share what a step has room for, fair in tokens
/// between principals and within one between requests. A request starts when a row is free and the pages of all its
/// tokens are; where the running ones outgrow the cache the youngest gives its pages back and is computed again, so the
/// oldest always ends.
///
/// Fairness is weighted fair queueing with equal weights: who has the least tokens served goes first, and who arrives
/// starts at what everyone would have been served had all been served at once. Waiting earns no credit, and no flood of
/// newcomers holds up those who are there.
public struct StepPlanner<ID: Hashable & Sendable>: Sendable {
  private struct Entry: Sendable {
    let id: ID
    let principal: String
    /// Order of arrival; it stays when the request is preempted.
    let order: UInt64
    /// Tokens that are known: the prompt's, then the chosen ones.
    var tokens: Int
    /// Of them, those whose keys and values are in the cache.
    var computed = 0
    /// Shares of prompt tokens served, on the principal's clock.
    var served = 0

    var missing: Int { tokens - computed }
  }

  private struct Level: Sendable {
    /// Shares served.
    var served: Int
    /// Requests in it.
    var count = 0
    /// Where a request of it that arrives starts.
    var clock = 0
  }

  /// Shares of a token, so that one divides among those who are there.
  private static var shares: Int { 1 << 10 }

  public let limits: StepLimits
  /// Both in order of arrival.
  private var running: [Entry] = []
  private var waiting: [Entry] = []
  private var principals: [String: Level] = [:]
  /// Where a principal that arrives starts.
  private var clock = 0
  private var nextOrder: UInt64 = 0
  private var revision: UInt64 = 0

  public init(limits: StepLimits) { self.limits = limits }

  /// Requests that hold a row.
  public var runningCount: Int { running.count }
  public var runningIDs: [ID] { running.map(\.id) }
  /// Requests that wait for one, preempted ones included.
  public var waitingCount: Int { waiting.count }
  public var isEmpty: Bool { running.isEmpty && waiting.isEmpty }
  /// Running requests that take one token a step.
  public var streams: Int { running.count { $0.missing == 1 } }

  /// Puts a request behind the others.
  /// - Precondition: the id is new; `tokens` is at least 1, and they and all that may follow fit into the cache.
  public mutating func add(_ id: ID, principal: String, tokens: Int) {
    precondition(tokens > 0 && limits.pages(for: tokens) <= limits.pages, "a request fits into the cache")
    precondition(!running.contains { $0.id == id } && !waiting.contains { $0.id == id }, "an id is used once")
    revision += 1
    var level = principals[principal] ?? Level(served: clock)
    level.served = max(level.served, clock)
    level.count += 1
    principals[principal] = level
    waiting.append(Entry(id: id, principal: principal, order: nextOrder, tokens: tokens))
    nextOrder += 1
  }

  /// Takes a request out, running or not; false when it is unknown.
  @discardableResult public mutating func remove(_ id: ID) -> Bool {
    let entry: Entry
    if let index = running.firstIndex(where: { $0.id == id }) {
      entry = running.remove(at: index)
    } else if let index = waiting.firstIndex(where: { $0.id == id }) {
      entry = waiting.remove(at: index)
    } else {
      return false
    }
    revision += 1
    if let level = principals[entry.principal] {
      principals[entry.principal]?.count -= 1
      if level.count == 1 { principals[entry.principal] = nil }
    }
    return true
  }

  /// A token was chosen: the request has one more that is known.
  public mutating func extend(_ id: ID) {
    guard let index = running.firstIndex(where: { $0.id == id }) else { return }
    revision += 1
    running[index].tokens += 1
  }

  /// A running request gives its pages back and waits, in its place among the waiting.
  public mutating func preempt(_ id: ID) {
    guard let index = running.firstIndex(where: { $0.id == id }) else { return }
    revision += 1
    var entry = running.remove(at: index)
    entry.computed = 0
    Self.insert(entry, into: &waiting)
  }

  private static func insert(_ entry: Entry, into list: inout [Entry]) {
    list.insert(entry, at: list.firstIndex { $0.order > entry.order } ?? list.endIndex)
  }

  // MARK: - Planning

  /// The next step. Changes nothing: asked twice it answers the same.
  ///
  /// - Parameters:
  ///   - freePages: pages that can be taken now, those that are only kept for reuse included.
  ///   - promptTokens: bound of prompt tokens; `limits.chunkTokens` where it is nil. At least one is computed.
  ///   - reuse: what of a waiting request the cache holds.
  public func plan(
    freePages: Int, promptTokens: Int? = nil, reuse: (ID) -> StepReuse = { _ in .none }
  ) -> StepDecision<ID> {
    let (admitted, reused) = admit(freePages: freePages, reuse: reuse)
    var pieces: [StepPlan<ID>.Piece] = []
    var demand = reused
    func take(_ entry: Entry, _ count: Int) {
      let end = entry.computed + count
      pieces.append(.init(id: entry.id, tokens: entry.computed..<end, givesToken: end == entry.tokens))
      demand += limits.pages(for: end) - limits.pages(for: entry.computed)
    }
    for entry in running + admitted where entry.missing == 1 { take(entry, 1) }
    var left = max(1, min(promptTokens ?? limits.chunkTokens, limits.chunkTokens))
    let budget = left
    for entry in prompts(running + admitted) where left > 0 {
      let count = min(entry.missing, left)
      left -= count
      take(entry, count)
    }
    if demand > freePages, let youngest = running.last { return .preempt(youngest.id) }
    guard !pieces.isEmpty else { return .idle }
    return .step(
      StepPlan(
        admissions: admitted.map { .init(id: $0.id, reusedTokens: $0.computed) }, pieces: pieces,
        promptTokens: budget - left, revision: revision))
  }

  /// Requests that can start, with the pages that their reuse takes from the free ones. The pages of all tokens that are
  /// known are set aside for everyone who runs, and one more each for the tokens to come.
  private func admit(freePages: Int, reuse: (ID) -> StepReuse) -> (admitted: [Entry], reused: Int) {
    guard running.count < limits.rows, !waiting.isEmpty else { return ([], 0) }
    var available = running.reduce(freePages) {
      $0 - limits.pages(for: $1.tokens) + limits.pages(for: $1.computed)
    }
    // What a principal has been promised counts as served, or one could take every free row at once.
    var owed: [String: Int] = [:]
    for entry in running { owed[entry.principal, default: 0] += entry.missing * Self.shares }
    func standing(_ entry: Entry) -> (Int, UInt64) {
      ((principals[entry.principal]?.served ?? clock) + (owed[entry.principal] ?? 0), entry.order)
    }
    var left = waiting
    var admitted: [Entry] = []
    var taken = 0
    while running.count + admitted.count < limits.rows,
      let index = left.indices.min(by: { standing(left[$0]) < standing(left[$1]) })
    {
      var entry = left.remove(at: index)
      let reuse = reuse(entry.id)
      precondition(
        reuse.tokens >= 0 && reuse.tokens < entry.tokens && reuse.tokens % limits.pageTokens == 0,
        "whole pages are reused, and never all tokens")
      entry.computed = reuse.tokens
      entry.served = principals[entry.principal]?.clock ?? 0
      let pages = limits.pages(for: entry.tokens) - limits.pages(for: reuse.tokens) + reuse.freePages
      // Who does not fit keeps the turn: smaller requests that overtake it could do so for ever.
      guard pages + running.count + admitted.count <= available else { break }
      available -= pages
      taken += reuse.freePages
      owed[entry.principal, default: 0] += entry.missing * Self.shares
      admitted.append(entry)
    }
    return (admitted, taken)
  }

  /// Requests with more than one token to compute, the one whose turn it is first.
  private func prompts(_ entries: [Entry]) -> [Entry] {
    func standing(_ entry: Entry) -> (Int, Int, UInt64) {
      (principals[entry.principal]?.served ?? 0, entry.served, entry.order)
    }
    return entries.filter { $0.missing > 1 }.sorted { standing($0) < standing($1) }
  }

  /// Starts and counts what the plan says: its pieces are computed now.
  /// - Precondition: nothing has changed since it was made.
  public mutating func commit(_ plan: StepPlan<ID>) {
    precondition(plan.revision == revision, "a plan is committed before anything else changes")
    revision += 1
    for admission in plan.admissions {
      guard let index = waiting.firstIndex(where: { $0.id == admission.id }) else { continue }
      var entry = waiting.remove(at: index)
      entry.computed = admission.reusedTokens
      entry.served = principals[entry.principal]?.clock ?? 0
      Self.insert(entry, into: &running)
    }
    for piece in plan.pieces {
      guard let index = running.firstIndex(where: { $0.id == piece.id }),
        var level = principals[running[index].principal]
      else { continue }
      let shares = piece.tokens.count * Self.shares
      if running[index].missing > 1 {
        let prompts = running.count { $0.principal == running[index].principal && $0.missing > 1 }
        level.clock += shares / prompts
        running[index].served += shares
      }
      running[index].computed = piece.tokens.upperBound
      level.served += shares
      clock += shares / principals.count
      principals[running[index].principal] = level
    }
  }
}
