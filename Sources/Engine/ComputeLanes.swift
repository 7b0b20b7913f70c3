internal import Foundation
internal import Synchronization
public import Tensors

/// What goes first when a lane becomes free.
public enum LanePriority: Sendable {
  /// Before every training micro-step.
  case inference
  case training
}

/// Threads that compute, each with scratch of its own: the only callers of kernels. They block while idle, so a busy
/// neighbour on the machine costs its share and no more; only who helps with another lane's step spins, until it ends.
///
/// Work is small (a batch, or a training shard of at most `TrainingRun.shardTokens` tokens), runs to its end, and
/// inference goes first: a request waits for at most one shard a lane.
public final class ComputeLanes: Sendable {
  /// Gives what follows it, which is done when the lane no longer counts as busy.
  private typealias Work = @Sendable (Arena) -> (@Sendable () -> Void)?

  private struct Queues {
    var inference: [Work] = []
    /// Help with inference that another lane has begun.
    var help: [Work] = []
    var training: [Work] = []
    /// Work before these indices has been taken.
    var inferenceHead = 0
    var helpHead = 0
    var trainingHead = 0
    /// Lanes that run something.
    var busy = 0
    var isStopped = false

    mutating func next() -> Work? {
      Self.take(&inference, &inferenceHead) ?? Self.take(&help, &helpHead)
        ?? Self.take(&training, &trainingHead)
    }

    var hasInference: Bool { inferenceHead < inference.count }

    private static func take(_ list: inout [Work], _ head: inout Int) -> Work? {
      guard head < list.count else { return nil }
      defer {
        head += 1
        // Now and then: a list that is never empty must not keep what was taken.
        if head == list.count || head == 64 {
          list.removeFirst(head)
          head = 0
        }
      }
      return list[head]
    }
  }

  /// Lanes that compute at the same time.
  public let count: Int
  private let queues = Mutex(Queues())
  private let ready = DispatchSemaphore(value: 0)

  /// - Parameter count: 0 takes one lane per core.
  public init(count: Int = 0) {
    self.count = count > 0 ? count : max(1, ProcessInfo.processInfo.activeProcessorCount)
    BLAS.useOneThread()
    for index in 0..<self.count {
      let thread = Thread { [self] in loop() }
      thread.name = "lane-\(index)"
      thread.stackSize = 4 << 20
      thread.start()
    }
  }

  /// Runs `body` on a lane; `arena` is empty again when it returns.
  public func run<R: Sendable>(
    _ priority: LanePriority, _ body: @escaping @Sendable (Arena) -> R
  ) async -> R {
    await withCheckedContinuation { continuation in
      let work: Work = { arena in
        let result = arena.scope { body(arena) }
        return { continuation.resume(returning: result) }
      }
      enqueue(priority, [work])
    }
  }

  /// Runs `body` for every item on the lanes; the results are in the items' order.
  public func map<Item: Sendable, R: Sendable>(
    _ priority: LanePriority, _ items: [Item], _ body: @escaping @Sendable (Item, Arena) -> R
  ) async -> [R] {
    await withCheckedContinuation { continuation in
      map(priority, items, body) { continuation.resume(returning: $0) }
    }
  }

  /// The same without waiting: `done` is called on the lane that finishes last.
  public func map<Item: Sendable, R: Sendable>(
    _ priority: LanePriority, _ items: [Item], _ body: @escaping @Sendable (Item, Arena) -> R,
    done: @escaping @Sendable ([R]) -> Void
  ) {
    guard !items.isEmpty else { return done([]) }
    let gathered = Gathered<R>(count: items.count)
    let work = items.enumerated().map { index, item -> Work in
      { arena in
        let result = arena.scope { body(item, arena) }
        guard let all = gathered.put(result, at: index) else { return nil }
        return { done(all) }
      }
    }
    enqueue(priority, work)
  }

  /// Runs `body`, on a lane, with those lanes that are idle now as its arena's crew. They leave when the body ends, or
  /// sooner when other inference comes.
  func withIdleLanes<R>(_ arena: Arena, _ body: () -> R) -> R {
    let idle = queues.withLock { $0.isStopped || $0.hasInference ? 0 : count - $0.busy }
    guard idle > 0 else { return body() }
    let crew = Crew(helpers: idle)
    let help: Work = { [self] _ in
      crew.help { queues.withLock { $0.hasInference } }
      return nil
    }
    queues.withLock { $0.help += Array(repeating: help, count: idle) }
    for _ in 0..<idle { ready.signal() }
    arena.crew = crew
    defer {
      arena.crew = nil
      crew.dismiss()
    }
    return body()
  }

  /// Lets the threads end after the work that is queued. Later work is never run.
  public func stop() {
    queues.withLock { $0.isStopped = true }
    for _ in 0..<count { ready.signal() }
  }

  private func enqueue(_ priority: LanePriority, _ work: [Work]) {
    queues.withLock { queues in
      precondition(!queues.isStopped, "lanes: work after stop")
      switch priority {
      case .inference: queues.inference += work
      case .training: queues.training += work
      }
    }
    for _ in work { ready.signal() }
  }

  private func loop() {
    let arena = Arena()
    while true {
      ready.wait()
      let (work, isStopped) = queues.withLock { queues in
        let work = queues.next()
        if work != nil { queues.busy += 1 }
        return (work, queues.isStopped)
      }
      if let work {
        let next = work(arena)
        queues.withLock { $0.busy -= 1 }
        next?()
      } else if isStopped {
        return
      }
    }
  }
}

/// Results of parallel work, complete when every place is filled.
private final class Gathered<R: Sendable>: Sendable {
  private struct State {
    var results: [R?]
    var missing: Int
  }
  private let state: Mutex<State>

  init(count: Int) { state = Mutex(State(results: Array(repeating: nil, count: count), missing: count)) }

  /// All results, from the call that fills the last place.
  func put(_ result: R, at index: Int) -> [R]? {
    state.withLock { state in
      state.results[index] = result
      state.missing -= 1
      return state.missing == 0 ? state.results.compactMap(\.self) : nil
    }
  }
}
