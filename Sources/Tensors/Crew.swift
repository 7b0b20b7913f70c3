internal import CKernels
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Threads that lend a hand with one thread's products: the columns of each are dealt out in pieces, to whoever takes
/// them. A piece computes what it would as part of the whole, so who helped is no part of the bits.
///
/// The owner never waits for a thread that has not begun a piece: without helpers it computes all itself. Helpers spin
/// between two products, which are microseconds apart, and yield to whatever else wants their core.
// SAFETY: Crew owns the product under way · its owner writes it before a ticket is out and not again until every piece
// of it is done; only who drew a piece reads it.
public final class Crew: @unchecked Sendable {
  /// Multiply-adds below which a product is not worth dealing out: about two microseconds of one core.
  static let leastWork = 1 << 16
  /// Pieces for each thread: late helpers still find some.
  private static let piecesEach = 4
  /// A tile of one row spans as many panels.
  private static let tilePanels = 4
  /// Looks before a waiting thread yields its core.
  private static let spins = 256

  /// A product and how it is cut.
  private struct Job {
    let call: ck_linear
    let panelBytes: Int
    /// Panels of a piece.
    let panels: Int
  }

  /// The product's number, its pieces and the next one to be drawn, 24, 20 and 20 bits: drawn in one step.
  private let ticket = Atomic<UInt64>(0)
  private let done = Atomic<Int>(0)
  private let isDismissed = Atomic<Bool>(false)
  private var job: Job?
  private let members: Int
  private let leastWork: Int
  private var number: UInt64 = 0

  /// - Parameter helpers: threads that will call `help`, at most.
  public convenience init(helpers: Int) { self.init(helpers: helpers, leastWork: Self.leastWork) }

  init(helpers: Int, leastWork: Int) {
    members = helpers + 1
    self.leastWork = leastWork
  }

  /// Computes pieces of the owner's products until it dismisses its crew or `leaves` says so between two products.
  public func help(leaves: () -> Bool) {
    var looks = 0
    while !isDismissed.load(ordering: .acquiring) {
      if drawAll() {
        looks = 0
      } else {
        looks += 1
        if looks % Self.spins == 0 {
          if leaves() { return }
          sched_yield()
        }
      }
    }
  }

  /// No more products come.
  public func dismiss() { isDismissed.store(true, ordering: .releasing) }

  /// Computes a product with whoever helps. The owner's thread alone.
  /// - Parameter panelBytes: of one panel of its weights.
  func run(_ call: ck_linear, panelBytes: Int) {
    let panels = (call.outputs + Int(CK_PANEL) - 1) / Int(CK_PANEL)
    let share = panels / (members * Self.piecesEach)
    let size = (share / Self.tilePanels + 1) * Self.tilePanels
    let pieces = (panels + size - 1) / size
    guard pieces > 1, pieces < 1 << 20, call.rows * call.inputs * call.outputs >= leastWork else {
      var call = call
      Kernels.table.linear(&call)
      return
    }
    job = Job(call: call, panelBytes: panelBytes, panels: size)
    number = (number + 1) & 0xFF_FFFF
    done.store(0, ordering: .relaxed)
    ticket.store(number << 40 | UInt64(pieces) << 20, ordering: .releasing)
    _ = drawAll()
    var looks = 0
    while done.load(ordering: .acquiring) < pieces {
      looks += 1
      if looks % Self.spins == 0 { sched_yield() }
    }
  }

  /// Draws and computes pieces while there are any; false when there was none.
  private func drawAll() -> Bool {
    var found = false
    while true {
      guard Self.hasPiece(ticket.load(ordering: .relaxed)) else { return found }
      let drawn = ticket.add(1, ordering: .acquiringAndReleasing).oldValue
      guard Self.hasPiece(drawn), let job else { return found }
      compute(job, piece: Int(drawn & 0xF_FFFF))
      done.add(1, ordering: .releasing)
      found = true
    }
  }

  private static func hasPiece(_ ticket: UInt64) -> Bool { ticket & 0xF_FFFF < ticket >> 20 & 0xF_FFFF }

  private func compute(_ job: Job, piece: Int) {
    let first = piece * job.panels
    let start = first * Int(CK_PANEL)
    var call = job.call
    call.panels += first * job.panelBytes
    call.bias = call.bias.map { $0 + start }
    call.extraPanels = call.extraPanels.map { $0 + start * call.extraInputs }
    call.y += start
    call.outputs = min(job.panels * Int(CK_PANEL), call.outputs - start)
    Kernels.table.linear(&call)
  }
}
