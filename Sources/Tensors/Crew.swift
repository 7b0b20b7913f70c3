internal import CKernels
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// Threads that lend a hand with one thread's work: the columns of a product, or the heads of an attention, are dealt out
/// in pieces, to whoever takes them. A piece computes what it would as part of the whole, so who helped is no part of the
/// bits.
///
/// The owner never waits for a thread that has not begun a piece: without helpers it computes all itself. Helpers spin
/// between two products, which are microseconds apart, and yield to whatever else wants their core.
// SAFETY: Crew owns the work under way · its owner writes it before a ticket is out and not again until every piece
// of it is done; only who drew a piece reads it.
public final class Crew: @unchecked Sendable {
  /// Multiply-adds below which a product is not worth dealing out: about two microseconds of one core.
  static let leastWork = 1 << 16
  /// Pieces of a product for each thread: late helpers still find some. With many rows they are fewer, since each piece
  /// reads all of X.
  private static func piecesEach(rows: Int) -> Int { rows < 24 ? 4 : 2 }
  /// A tile of one row spans as many panels.
  private static let tilePanels = 4
  /// Looks before a waiting thread yields its core.
  private static let spins = 256

  private typealias Work = (_ piece: Int, _ member: Int) -> Void

  /// The work's number, its pieces and the next one to be drawn, 24, 20 and 20 bits: drawn in one step.
  private let ticket = Atomic<UInt64>(0)
  private let done = Atomic<Int>(0)
  private let isDismissed = Atomic<Bool>(false)
  private var work: Work?
  /// Threads that may be at work at once: `member` is below it, and 0 for the owner.
  let members: Int
  /// Helpers that ever came, and those that are here.
  private let come = Atomic<Int>(0)
  private let present = Atomic<Int>(0)
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
    let member = come.add(1, ordering: .relaxed).newValue
    guard member < members else { return }
    present.add(1, ordering: .relaxed)
    defer { present.subtract(1, ordering: .relaxed) }
    var looks = 0
    while !isDismissed.load(ordering: .acquiring) {
      if drawAll(member) {
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
  /// - Parameters:
  ///   - panelBytes: of one panel of its weights.
  ///   - scaleBytes: of one panel's scales.
  func run(_ call: ck_linear, panelBytes: Int, scaleBytes: Int) {
    let panels = (call.outputs + Int(CK_PANEL) - 1) / Int(CK_PANEL)
    let each = panels / (members * Self.piecesEach(rows: call.rows))
    let size = (each / Self.tilePanels + 1) * Self.tilePanels
    let pieces = (panels + size - 1) / size
    guard present.load(ordering: .relaxed) > 0, pieces > 1, pieces < 1 << 20,
      call.rows * call.inputs * call.outputs >= leastWork
    else {
      var call = call
      Kernels.table.linear(&call)
      return
    }
    share(pieces) { piece, _ in
      let first = piece * size
      let start = first * Int(CK_PANEL)
      var part = call
      part.panels += first * panelBytes
      part.scales = call.scales.map { $0 + first * scaleBytes / MemoryLayout<UInt16>.stride }
      part.bias = call.bias.map { $0 + start }
      part.extraPanels = call.extraPanels.map { $0 + start * call.extraInputs }
      part.y += start
      part.outputs = min(size * Int(CK_PANEL), call.outputs - start)
      Kernels.table.linear(&part)
    }
  }

  /// Runs `body` for every piece with whoever helps, and returns when all are done. The owner's thread alone.
  /// - Parameter body: called on several threads at once, each with another `member`; pieces must not touch each other's
  ///   results.
  func share(_ pieces: Int, _ body: @escaping (_ piece: Int, _ member: Int) -> Void) {
    precondition(pieces < 1 << 20, "crew: too many pieces")
    // A helper may hold it for a moment after its last piece is done, so it escapes.
    work = body
    number = (number + 1) & 0xFF_FFFF
    done.store(0, ordering: .relaxed)
    ticket.store(number << 40 | UInt64(pieces) << 20, ordering: .releasing)
    _ = drawAll(0)
    var looks = 0
    while done.load(ordering: .acquiring) < pieces {
      looks += 1
      if looks % Self.spins == 0 { sched_yield() }
    }
  }

  /// Draws and computes pieces while there are any; false when there was none.
  private func drawAll(_ member: Int) -> Bool {
    var found = false
    while true {
      guard Self.hasPiece(ticket.load(ordering: .relaxed)) else { return found }
      let drawn = ticket.add(1, ordering: .acquiringAndReleasing).oldValue
      guard Self.hasPiece(drawn), let work else { return found }
      work(Int(drawn & 0xF_FFFF), member)
      done.add(1, ordering: .releasing)
      found = true
    }
  }

  private static func hasPiece(_ ticket: UInt64) -> Bool { ticket & 0xF_FFFF < ticket >> 20 & 0xF_FFFF }
}
