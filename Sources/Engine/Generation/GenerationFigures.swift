/// What generation holds and has done.
public struct GenerationFigures: Sendable, Equatable {
  /// Requests that hold a row, and that wait for one.
  public var running = 0
  public var waiting = 0
  /// Tasks with a request that holds a row, and with one that waits; the bare base is none.
  public var tasksRunning: Set<String> = []
  public var tasksWaiting: Set<String> = []
  /// Pages of keys and values that are held, those that are kept for reuse included, and a page's bytes.
  public var pages = 0
  public var pageBytes = 0
  /// Of the pages, those in the prefix store.
  public var prefixPages = 0
  /// Memory that pages have taken, in bytes: the most that was held at once.
  public var residentBytes = 0
  public var steps = 0
  /// Prompt tokens computed, those that were computed again after a preemption included, and those that were reused.
  public var promptTokens = 0
  public var reusedTokens = 0
  public var generatedTokens = 0
  public var preemptions = 0

  public init() {}

  static func + (left: Self, right: Self) -> Self {
    var sum = left
    sum.running += right.running
    sum.waiting += right.waiting
    sum.tasksRunning.formUnion(right.tasksRunning)
    sum.tasksWaiting.formUnion(right.tasksWaiting)
    sum.pages += right.pages
    sum.pageBytes = max(left.pageBytes, right.pageBytes)
    sum.prefixPages += right.prefixPages
    sum.residentBytes += right.residentBytes
    sum.steps += right.steps
    sum.promptTokens += right.promptTokens
    sum.reusedTokens += right.reusedTokens
    sum.generatedTokens += right.generatedTokens
    sum.preemptions += right.preemptions
    return sum
  }
}
