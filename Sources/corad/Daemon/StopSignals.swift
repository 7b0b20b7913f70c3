internal import Dispatch
internal import Foundation
internal import Synchronization

/// SIGTERM and SIGINT from the first line of the daemon on: the first one asks for an orderly end, the second one ends
/// the process, whatever it waits for.
final class StopSignals: Sendable {
  /// What the second signal ends the process with.
  static let impatientExit: Int32 = 1

  private let count = Atomic(0)
  private let asked: AsyncStream<Void>
  private let asker: AsyncStream<Void>.Continuation

  /// Returns once the signals are caught.
  init(_ signals: [Int32] = [SIGTERM, SIGINT]) {
    (asked, asker) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1))
    let queue = DispatchQueue(label: "signals")
    let registered = DispatchSemaphore(value: 0)
    for number in signals {
      // The default action would end the process before the source hears of it.
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      // The source keeps itself: it is heard as long as the process lives.
      source.setRegistrationHandler { registered.signal() }
      source.setEventHandler { self.take(Int(source.data)) }
      source.resume()
    }
    for _ in signals { registered.wait() }
  }

  /// Whether a signal came.
  var isStopping: Bool { count.load(ordering: .relaxed) > 0 }

  /// Returns at the first signal, at once where it came already, or when the task is cancelled. One caller.
  func first() async {
    for await _ in asked { return }
  }

  private func take(_ signals: Int) {
    let total = count.wrappingAdd(max(1, signals), ordering: .relaxed).newValue
    if total > 1 { _exit(Self.impatientExit) }
    asker.yield()
  }
}
