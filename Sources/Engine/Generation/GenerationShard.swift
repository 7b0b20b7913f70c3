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
    /// Tasks of the requests that have not ended.
    var open: [UInt64: String] = [:]
    /// Of these, those that hold a row.
    var running: [UInt64] = []
    /// A step is under way or queued.
    var isActive = false
    /// After the last step.
    var figures: GenerationFigures

    /// Whether there is more to do. Who is cancelled after the end is not: the lanes may be gone by then.
    mutating func goesOn() -> Bool {
      guard open.isEmpty else { return true }
      (cancelled, cancelsAll) = ([], false)
      return false
    }
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
      var waiting = inbox.open
      for id in inbox.running {
        if let task = waiting.removeValue(forKey: id), !task.isEmpty { figures.tasksRunning.insert(task) }
      }
      figures.tasksWaiting = Set(waiting.values.lazy.filter { !$0.isEmpty })
      return figures
    }
  }

  /// Requests that have not ended.
  var open: Int { inbox.withLock { $0.open.count } }

  func add(_ arrival: Arrival) {
    change { inbox in
      inbox.arrivals.append(arrival)
      inbox.open[arrival.id] = arrival.request.task
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
      guard inbox.goesOn(), !inbox.isActive else { return false }
      inbox.isActive = true
      return true
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
    let (figures, running, ends) = (core.figures, core.running, core.takeEnds())
    let endedIDs = ends.map(\.row.id)
    let goesOn = inbox.withLock { inbox in
      inbox.figures = figures
      inbox.running = running
      for id in endedIDs { inbox.open[id] = nil }
      inbox.isActive = inbox.goesOn()
      return inbox.isActive
    }
    // Told last: who waits for the end finds figures without the request. The core may be another step's by now.
    if !ends.isEmpty { ended(ends.count) }
    for end in ends { end.row.finish(end.reason) }
    return goesOn
  }
}
