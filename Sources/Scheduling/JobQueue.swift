/// Jobs that wait for the one place in which they run: first come first served within a principal, turns between
/// principals. A value.
public struct JobQueue<ID: Hashable & Sendable>: Sendable {
  private struct Entry: Sendable {
    let id: ID
    let principal: String
    var isPaused: Bool
  }

  /// In order of arrival.
  private var entries: [Entry] = []
  /// When a principal last had a job started, counted in starts.
  private var lastStart: [String: Int] = [:]
  private var starts = 0
  /// The job that runs now.
  public private(set) var running: ID?

  public init() {}

  /// Jobs that wait, paused ones included.
  public var count: Int { entries.count }

  /// Puts a job behind all others; one that is already there stays where it is.
  public mutating func add(_ id: ID, principal: String, isPaused: Bool = false) {
    guard id != running, !entries.contains(where: { $0.id == id }) else { return }
    entries.append(Entry(id: id, principal: principal, isPaused: isPaused))
  }

  /// The job that would start now: the oldest one, not paused, of the principal that has waited longest for a start.
  /// Nil while one runs. Changes nothing.
  public var next: ID? {
    guard running == nil else { return nil }
    var best: Entry?
    for entry in entries where !entry.isPaused {
      guard let held = best else {
        best = entry
        continue
      }
      if (lastStart[entry.principal] ?? 0) < (lastStart[held.principal] ?? 0) { best = entry }
    }
    return best?.id
  }

  /// Starts a waiting job; false when one runs, or it is paused or unknown.
  public mutating func start(_ id: ID) -> Bool {
    guard running == nil, let index = entries.firstIndex(where: { $0.id == id }), !entries[index].isPaused
    else { return false }
    starts += 1
    lastStart[entries.remove(at: index).principal] = starts
    running = id
    return true
  }

  /// The running job has ended; false when another runs.
  public mutating func finish(_ id: ID) -> Bool {
    guard running == id else { return false }
    running = nil
    if entries.isEmpty { lastStart = [:] }
    return true
  }

  /// A paused job keeps its place and is passed over; false when it does not wait here.
  public mutating func setPaused(_ isPaused: Bool, _ id: ID) -> Bool {
    guard let index = entries.firstIndex(where: { $0.id == id }) else { return false }
    entries[index].isPaused = isPaused
    return true
  }

  /// Takes a waiting job out; false when it does not wait here.
  public mutating func remove(_ id: ID) -> Bool {
    guard let index = entries.firstIndex(where: { $0.id == id }) else { return false }
    entries.remove(at: index)
    return true
  }
}
