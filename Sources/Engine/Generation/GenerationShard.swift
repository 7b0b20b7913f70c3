internal import Adapters
internal import Synchronization
internal import Tensors

/// Rows of one cache of keys and values, stepped on whichever lane is free: one step at a time, and between two of them
/// others have their turn.
// SAFETY: GenerationShard owns the core · only the one step that is under way touches it; `isActive` lets none begin
// before the last has ended, and the lanes' and the inbox's locks order what they write.
final class GenerationShard: @unchecked Sendable {
  struct Arrival: Sendable {
    let id: UInt64
    let request: GenerationRequest
    let maxTokens: Int
    let seed: UInt64
    /// Takes the request's events; false: nobody listens any more.
    let send: @Sendable (GenerationEvent) -> Bool
  }

  private struct Inbox {
    var arrivals: [Arrival] = []
    var cancelled: [UInt64] = []
    var cancelsAll = false
    /// Requests that have not ended.
    var open = 0
    /// A step is under way or queued.
    var isActive = false
    /// After the last step.
    var figures: GenerationFigures
  }

  private let core: GenerationCore
  private let lanes: ComputeLanes
  private let inbox: Mutex<Inbox>
  /// Asked before each step.
  private let primary: @Sendable () -> ResidentSubspace?
  /// So many requests have ended.
  private let ended: @Sendable (Int) -> Void
  /// Tokens that a request may have at most.
  let limitTokens: Int

  init(
    _ core: sending GenerationCore, lanes: ComputeLanes, primary: @escaping @Sendable () -> ResidentSubspace?,
    ended: @escaping @Sendable (Int) -> Void
  ) {
    limitTokens = core.limitTokens
    inbox = Mutex(Inbox(figures: core.figures))
    self.core = core
    self.lanes = lanes
    self.primary = primary
    self.ended = ended
  }

  /// Requests that have arrived and not ended count as running or waiting.
  var figures: GenerationFigures {
    inbox.withLock { inbox in
      var figures = inbox.figures
      figures.waiting += inbox.arrivals.count
      return figures
    }
  }

  /// Requests that have not ended.
  var open: Int { inbox.withLock { $0.open } }

  func add(_ arrival: Arrival) {
    change { inbox in
      inbox.arrivals.append(arrival)
      inbox.open += 1
    }
  }

  func cancel(_ id: UInt64) {
    change { $0.cancelled.append(id) }
  }

  func cancelAll() {
    change { $0.cancelsAll = true }
  }

  private func change(_ body: (inout Inbox) -> Void) {
    let starts = inbox.withLock { inbox in
      body(&inbox)
      defer { inbox.isActive = true }
      return !inbox.isActive
    }
    if starts { enqueue() }
  }

  private func enqueue() {
    lanes.map(.inference, [self]) { shard, arena in
      shard.step(arena)
    } done: { goesOn in
      if goesOn[0] { self.enqueue() }
    }
  }

  /// True when there is more to do.
  private func step(_ arena: Arena) -> Bool {
    let (arrivals, cancelled, cancelsAll) = inbox.withLock { inbox in
      defer { (inbox.arrivals, inbox.cancelled, inbox.cancelsAll) = ([], [], false) }
      return (inbox.arrivals, inbox.cancelled, inbox.cancelsAll)
    }
    for arrival in arrivals { core.add(arrival) }
    for id in cancelsAll ? core.ids : cancelled { core.end(id, .cancelled) }
    // A shard alone has the idle lanes for itself.
    lanes.withIdleLanes(arena) { core.step(primary: primary(), arena: arena) }
    let (figures, isEmpty, ends) = (core.figures, core.isEmpty, core.takeEnds())
    let goesOn = inbox.withLock { inbox in
      inbox.figures = figures
      inbox.open -= ends.count
      inbox.isActive =
        !isEmpty || !inbox.arrivals.isEmpty || !inbox.cancelled.isEmpty || inbox.cancelsAll
      return inbox.isActive
    }
    // Told last: who waits for the end finds figures without the request. The core may be another step's by now.
    if !ends.isEmpty { ended(ends.count) }
    for end in ends { end.row.finish(end.reason) }
    return goesOn
  }
}
