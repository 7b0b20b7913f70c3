internal import Foundation

/// What a store takes from outside: its clock, its ids, its limits and its fault points.
public struct StoreOptions: Sendable {
  /// Opens without the lock and refuses every write (`corad doctor` on a live store).
  public var isReadOnly = false
  /// Milliseconds since 1970 UTC.
  public var now: @Sendable () -> Int64
  /// Makes an id from a prefix: `"job_"` to `"job_4g…"`. Ids must be unique in the store.
  public var makeID: @Sendable (_ prefix: String) -> String
  /// Called at each ``FaultPoint``; a crash test's closure does not return.
  public var fault: @Sendable (FaultPoint) -> Void
  /// Progress events kept for a job; older ones are dropped, state changes never.
  public var eventLimit = 2_000
  /// Upper bound of the database file in bytes; past it writes throw ``StoreError/full``. Nil: the disk.
  public var limitBytes: Int64?
  /// Bytes of the file that each connection may map.
  public var mapBytes: Int64 = 1 << 30
  /// How long a connection waits for another one's lock.
  public var busyTimeoutSeconds: Double = 5

  /// The system's clock and random ids of 100 bits; no faults.
  public init() {
    now = { Int64((Date().timeIntervalSince1970 * 1_000).rounded(.down)) }
    makeID = { prefix in
      // Crockford's alphabet: no letter that reads as another.
      let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz")
      return prefix + String((0..<20).map { _ in alphabet[Int.random(in: 0..<32)] })
    }
    fault = { _ in }
  }
}
