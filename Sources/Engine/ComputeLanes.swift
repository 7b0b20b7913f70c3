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
/// inference goes first: a request waits for at most one shard a lane. Streams that never end leave training a shard in
/// `trainingPatience` of their steps, so that a job goes on and hears that it is to stop.
public final class ComputeLanes: Sendable {
  /// Gives what follows it.
  private typealias Work = @Sendable (Arena) -> (@Sendable () -> Void)?

  private enum Turn {
    case run(Work)
    case help(Crew)
  }

  private struct Queues {
    var inference: [Work] = []
    var training: [Work] = []
    /// Work before these indices has been taken.
    var inferenceHead = 0
    var trainingHead = 0
    /// Inference that other lanes have begun and that has room for helpers.
    var crews: [(crew: Crew, room: Int)] = []
    /// Pieces of inference begun while training waited.
    var passed = 0
    /// Lanes that wait for work, less those that have been woken.
    var sleeping = 0
    var isStopped = false

    /// Inference, then help with it, then training, which has a turn now and then where inference never ends.
    mutating func next() -> Turn? {
      if passed >= ComputeLanes.trainingPatience, let work = takeTraining() { return .run(work) }
      if let work = Self.take(&inference, &inferenceHead) {
        passed = trainingHead < training.count ? passed + 1 : 0
        return .run(work)
      }
      if let index = crews.firstIndex(where: { $0.room > 0 }) {
        crews[index].room -= 1
        return .help(crews[index].crew)
      }
      return takeTraining().map { .run($0) }
    }

    private mutating func takeTraining() -> Work? {
      passed = 0
      return Self.take(&training, &trainingHead)
    }

    /// Lanes to wake for so many pieces of work.
    mutating func wake(_ pieces: Int) -> Int {
      let woken = min(pieces, sleeping)
      sleeping -= woken
      return woken
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

  /// Pieces of inference that go before a waiting one of training, at most.
  static let trainingPatience = 1_024

  /// Lanes that compute at the same time.
  public let count: Int
  private let queues = Mutex(Queues())
  /// Signalled once for each lane that is woken.
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

  /// Runs `body`, on a lane, with those lanes as its arena's crew that are idle or become so. They leave when the body
  /// ends, or sooner when other inference comes.
  func withIdleLanes<R>(_ arena: Arena, _ body: () -> R) -> R {
    guard count > 1 else { return body() }
    let crew = Crew(helpers: count - 1)
    wake { queues in
      queues.crews.append((crew, count - 1))
      return count - 1
    }
    arena.crew = crew
    defer {
      arena.crew = nil
      crew.dismiss()
      queues.withLock { $0.crews.removeAll { $0.crew === crew } }
    }
    return body()
  }

  /// Lets the threads end after the work that is queued. Later work is never run.
  public func stop() {
    wake { queues in
      queues.isStopped = true
      return count
    }
  }

  private func enqueue(_ priority: LanePriority, _ work: [Work]) {
    wake { queues in
      precondition(!queues.isStopped, "lanes: work after stop")
      switch priority {
      case .inference: queues.inference += work
      case .training: queues.training += work
      }
      return work.count
    }
  }

  /// Wakes as many lanes as there are new pieces of work.
  private func wake(_ change: (inout Queues) -> Int) {
    let woken = queues.withLock { queues in queues.wake(change(&queues)) }
    for _ in 0..<woken { ready.signal() }
  }

  private func loop() {
    let arena = Arena()
    while true {
      let (turn, isStopped) = queues.withLock { queues in
        let turn = queues.next()
        if turn == nil, !queues.isStopped { queues.sleeping += 1 }
        return (turn, queues.isStopped)
      }
      switch turn {
      case .run(let work): work(arena)?()
      case .help(let crew): crew.help { queues.withLock { $0.hasInference } }
      case nil:
        if isStopped { return }
        ready.wait()
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
