internal import Foundation
internal import GRDB
internal import Synchronization

/// The one database file of a daemon: subspaces, tasks and their versions, data sets, jobs. SQLite in WAL mode with
/// `synchronous=FULL`: what a method has returned survives a crash and a power cut, unless the method says less.
///
/// It speaks of names, digests, JSON text and bytes, and knows nothing of what they mean. One process at a time: a
/// sibling file `<path>.lock` is locked while the store is open.
public final class Store: Sendable {
  let pool: DatabasePool
  let now: @Sendable () -> Int64
  let makeID: @Sendable (_ prefix: String) -> String
  let faults: @Sendable (FaultPoint) -> Void
  /// The file, with symbolic links resolved, so that two names of one store share one lock.
  public let path: String
  /// Jobs that opening found to end the daemon at every start; they have failed.
  public let crashedJobs: [String]
  private let lock: Mutex<FileLock?>
  private let lastTime = Mutex<Int64>(0)
  /// When the last write ended, and the fault of the file that it met.
  private let lastWrite = Mutex<(time: ContinuousClock.Instant, fault: StoreError?)?>(nil)

  /// Opens the store, making it where there is none. Uploads that never ended are gone; jobs that ran are queued again,
  /// or have failed as `crashed` where the daemon ended with them at every start.
  ///
  /// - Parameters:
  ///   - now: milliseconds since 1970.
  ///   - makeID: a fresh id with the given prefix, such as `job_` and the time.
  ///   - faults: called at every named point of a commit, for crash tests.
  /// - Throws: `.locked`, `.foreignFile`, `.newerSchema`, `.corrupt`, `.io`.
  public init(
    path: String, now: @escaping @Sendable () -> Int64, makeID: @escaping @Sendable (String) -> String,
    faults: @escaping @Sendable (FaultPoint) -> Void = { _ in }
  ) throws(StoreError) {
    let path = FileLock.canonicalPath(path)
    self.path = path
    lock = Mutex(try FileLock(path: path + ".lock", store: path))
    self.now = now
    self.makeID = makeID
    self.faults = faults
    do {
      try FileCheck.examine(path)
      var configuration = Configuration()
      configuration.busyMode = .timeout(10)
      configuration.maximumReaderCount = 4
      configuration.prepareDatabase { database in
        try database.execute(sql: "PRAGMA synchronous = FULL; PRAGMA mmap_size = 268435456")
      }
      pool = try DatabasePool(path: path, configuration: configuration)
      try Schema.migrator.migrate(pool)
      crashedJobs = try pool.write { database in
        try database.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
        try database.execute(sql: "DELETE FROM datasets WHERE is_complete = 0")
        return try Self.recoverJobs(database, at: now())
      }
    } catch {
      throw StoreError(error)
    }
  }

  /// Closes the file, once what runs has ended, and gives the lock back. Later calls throw. All of it is in the one file
  /// then, unless another process reads it: the log beside it is empty.
  public func close() throws(StoreError) {
    // The pool keeps the log's file, so that closing alone would leave it as it is. Where somebody else reads the file, or
    // the disk is full, the log stays and the next start goes on from it.
    try? pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
    do { try pool.close() } catch { throw StoreError(error) }
    lock.withLock { $0 = nil }
  }

  // Neither is cancelled with the task that calls it: an answer that a commit happened, or did not, is always true.

  func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws(StoreError) -> T {
    let result: Result<T, StoreError> = await withCheckedContinuation { continuation in
      pool.asyncRead { database in
        continuation.resume(
          returning: Result { try body(database.get()) }.mapError { StoreError($0) })
      }
    }
    return try result.get()
  }

  /// An id whose order among its kind is that of creation: lists are in that order, and a cursor outlives its row.
  func freshID(_ prefix: String) -> String {
    let time = now()
    let unique = lastTime.withLock { last in
      last = max(last + 1, time)
      return last
    }
    let digits = String(UInt64(max(0, unique)), radix: 16)
    return makeID(prefix + String(repeating: "0", count: max(0, 12 - digits.count)) + digits)
  }

  /// One transaction: all or nothing, on the disk on return.
  ///
  /// - Parameter isDurable: false leaves the flush to the next commit that is: in WAL mode an interrupted write loses
  ///   the last such commits, never the order or the file.
  func write<T: Sendable>(
    _ point: FaultPoint.Commit? = nil, isDurable: Bool = true,
    _ body: @escaping @Sendable (Database) throws -> T
  ) async throws(StoreError) -> T {
    let faults = faults
    let result: Result<T, StoreError> = await withCheckedContinuation { continuation in
      pool.asyncWriteWithoutTransaction { database in
        let result = Result<T?, any Error> {
          var value: T?
          // A property of the writer's connection that cannot change inside a transaction.
          try database.execute(sql: "PRAGMA synchronous = \(isDurable ? "FULL" : "NORMAL")")
          try database.inTransaction(.immediate) {
            value = try body(database)
            if let point { faults(.before(point)) }
            return .commit
          }
          if let point { faults(.after(point)) }
          return value
        }
        continuation.resume(
          returning: result.mapError { StoreError($0) }.flatMap { value in
            value.map { .success($0) } ?? .failure(.io(code: 0, detail: "no result"))
          })
      }
    }
    noteFault(of: result)
    return try result.get()
  }

  private func noteFault<T>(of result: Result<T, StoreError>) {
    var fault: StoreError?
    if case .failure(let error) = result, error.isOfFile { fault = error }
    lastWrite.withLock { [fault] in $0 = (time: .now, fault: fault) }
  }

  /// Whether writes are taken: what the last one met where it is not older than `age`, else a write that changes nothing.
  ///
  /// - Throws: `.readOnly`, `.full`, `.io`, `.corrupt`.
  public func checkWritable(asOf age: Duration = .seconds(1)) async throws(StoreError) {
    if let last = lastWrite.withLock({ $0 }), last.time + age > .now {
      if let fault = last.fault { throw fault }
      return
    }
    try await write(isDurable: false) { database in
      // A page is written although its bytes stay.
      try database.execute(sql: "PRAGMA application_id = \(Schema.applicationID)")
    }
  }
}

/// A named moment of a commit at which a crash test may end the process.
public enum FaultPoint: Sendable, Hashable, CustomStringConvertible {
  public enum Commit: String, Sendable, CaseIterable {
    case publish, checkpoint, event, transition, dataset, job, activate
  }

  case before(Commit)
  case after(Commit)

  /// `publish.before-commit`
  public var description: String {
    switch self {
    case .before(let commit): "\(commit.rawValue).before-commit"
    case .after(let commit): "\(commit.rawValue).after-commit"
    }
  }
}

extension StoreError {
  /// Wraps what GRDB and SQLite throw; our own errors pass through.
  init(_ error: any Error) {
    if let error = error as? StoreError {
      self = error
      return
    }
    guard let error = error as? DatabaseError else {
      self = .io(code: 0, detail: "\(error)")
      return
    }
    switch error.resultCode {
    case .SQLITE_CORRUPT: self = .corrupt(error.message ?? "malformed")
    case .SQLITE_NOTADB: self = .corrupt("not a database")
    case .SQLITE_FULL: self = .full
    case .SQLITE_READONLY: self = .readOnly
    default: self = .io(code: error.extendedResultCode.rawValue, detail: error.message ?? "")
    }
  }
}
