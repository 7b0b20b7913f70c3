internal import CKernels
internal import Synchronization

/// Threads that share the products of one pass: who runs the pass leads, and threads with nothing else to do help.
///
/// Work is cut into pieces that write apart from each other; whoever is free takes the next one. Nobody waits for a helper
/// that has not come, and how work is shared changes no bits.
// SAFETY: ProductTeam's `work` is written by the leader alone, while no helper is inside · `inside` says so, and `left`
// is stored after it and loaded before it.
public final class ProductTeam: @unchecked Sendable {
  private typealias Work = (_ piece: Int, _ worker: Int) -> Void

  /// Looks before a thread that waits offers its core to others.
  private static let patience = 2_000

  /// Threads that may be at work at once, the leader among them: `worker` is below it.
  public let workers: Int
  private var work: Work?
  /// Pieces that nobody has taken; below 1 there are none.
  private let left = Atomic(0)
  /// Helpers that may be at work.
  private let inside = Atomic(0)
  /// Helpers that look for work.
  private let helpers = Atomic(0)
  /// Helpers that ever came.
  private let come = Atomic(0)
  private let isOver = Atomic(false)

  /// - Parameter helpers: calls of `help` at most.
  public init(helpers: Int) { workers = helpers + 1 }

  /// Runs `body` for every piece and returns when all are done. The leader's alone.
  /// - Parameter body: called on several threads at once, each with a number of its own; the pieces must not touch each
  ///   other's results.
  public func share(_ pieces: Int, _ body: (_ piece: Int, _ worker: Int) -> Void) {
    guard pieces > 1, helpers.load(ordering: .acquiring) > 0 else {
      for piece in 0..<pieces { body(piece, 0) }
      return
    }
    withoutActuallyEscaping(body) { body in
      work = body
      left.store(pieces, ordering: .sequentiallyConsistent)
      takePieces(body, worker: 0)
      // Whoever took a piece has said before that it is inside.
      wait { inside.load(ordering: .sequentiallyConsistent) == 0 }
      work = nil
    }
  }

  /// Helps until the pass is over.
  /// - Parameter leaves: asked between pieces; true ends the help.
  public func help(unless leaves: () -> Bool) {
    let worker = come.wrappingAdd(1, ordering: .relaxed).newValue
    precondition(worker < workers, "product team: more helpers than it was made for")
    helpers.wrappingAdd(1, ordering: .acquiringAndReleasing)
    defer { helpers.wrappingSubtract(1, ordering: .acquiringAndReleasing) }
    while true {
      var isWanted = false
      wait {
        isWanted = left.load(ordering: .relaxed) > 0
        return isWanted || isOver.load(ordering: .acquiring) || leaves()
      }
      guard isWanted else { return }
      inside.wrappingAdd(1, ordering: .sequentiallyConsistent)
      // The work is there while pieces are left: the leader waits for who is inside before it puts down other work.
      if left.load(ordering: .sequentiallyConsistent) > 0, let work {
        takePieces(work, worker: worker)
      }
      inside.wrappingSubtract(1, ordering: .sequentiallyConsistent)
    }
  }

  /// Sends the helpers away. The leader's, when its pass is over.
  public func close() { isOver.store(true, ordering: .releasing) }

  private func takePieces(_ work: Work, worker: Int) {
    while true {
      let piece = left.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
      guard piece >= 0 else { return }
      work(piece, worker)
    }
  }

  private func wait(until isReady: () -> Bool) {
    var looks = 0
    while !isReady() {
      looks += 1
      if looks < Self.patience { ck_pause() } else { ck_yield() }
    }
  }
}
