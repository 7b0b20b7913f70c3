internal import Dispatch
internal import Foundation
internal import GRDB
internal import Synchronization

/// The tasks, versions, subspaces, data sets and jobs of one daemon, in one SQLite file.
///
/// Every call suspends its caller and runs on the database's own queues: it neither blocks the caller's
/// thread nor stops half way when the caller's task is cancelled, so an answer is never ambiguous.
public final class Store: Sendable {
  /// The file, with symbolic links resolved.
  public let path: String
  let options: StoreOptions
  private let pool: DatabasePool
  private let lock: Mutex<StoreLock?>

  /// How much a commit waits for the disk.
  enum Durability: Int { case normal = 1, full = 2 }

  /// Opens the store, makes it when the file is absent or empty, migrates it, removes uploads that were never
  /// committed and puts jobs that were running back in the queue.
  /// - Throws: ``StoreError/locked``, ``StoreError/foreign(applicationID:)``,
  ///   ``StoreError/newerSchema(found:supported:)``, ``StoreError/corrupt``, ``StoreError/readOnly``,
  ///   ``StoreError/io(code:)``.
  public static func open(path: String, options: StoreOptions = StoreOptions()) async throws(StoreError)
    -> Store
  {
    try await offloaded { () throws(StoreError) in try Store(opening: path, options: options) }
  }

  /// Blocking; called off the cooperative pool.
  private init(opening path: String, options: StoreOptions) throws(StoreError) {
    let path = try StoreLock.canonicalPath(path)
    self.path = path
    self.options = options
    lock = Mutex(options.isReadOnly ? nil : try StoreLock(store: path))
    do {
      try Store.examine(path, isReadOnly: options.isReadOnly)
      pool = try DatabasePool(path: path, configuration: Store.configuration(options))
      if !options.isReadOnly {
        try Schema.migrate(pool)
        try pool.write { db in
          try Store.removeUncommittedDatasets(db)
          try Store.requeueRunningJobs(db, options: options)
        }
      }
    } catch {
      throw StoreError(translating: error)
    }
  }

  /// Waits for running calls, closes the connections and gives the lock back. Later calls throw
  /// ``StoreError/closed``.
  public func close() async throws(StoreError) {
    let pool = pool
    try await Store.offloaded { () throws(StoreError) in
      do { try pool.close() } catch { throw StoreError(translating: error) }
    }
    lock.withLock { $0 = nil }
  }

  // MARK: - Access

  func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws(StoreError) -> T {
    let result: Result<T, StoreError> = await withCheckedContinuation { continuation in
      pool.asyncRead { database in
        continuation.resume(
          returning: Result { try body(database.get()) }.mapError(StoreError.init(translating:)))
      }
    }
    return try result.get()
  }

  /// Runs `body` in one immediate transaction. `before` and `after` are the fault points on the commit's sides.
  func write<T: Sendable>(
    _ durability: Durability = .full, before: FaultPoint? = nil, after: FaultPoint? = nil,
    _ body: @escaping @Sendable (Database) throws -> T
  ) async throws(StoreError) -> T {
    if options.isReadOnly { throw .readOnly }
    let fault = options.fault
    let result: Result<T, StoreError> = await withCheckedContinuation { continuation in
      pool.asyncWriteWithoutTransaction { db in
        let result = Result<T, any Error> {
          // A pragma, not I/O: the next FULL commit also syncs the NORMAL ones before it.
          try db.execute(sql: "PRAGMA synchronous = \(durability.rawValue)")
          var value: T?
          try db.inTransaction(.immediate) {
            value = try body(db)
            if let before { fault(before) }
            return .commit
          }
          if let after { fault(after) }
          guard let value else { throw StoreError.corrupt }
          return value
        }
        continuation.resume(returning: result.mapError(StoreError.init(translating:)))
      }
    }
    return try result.get()
  }

  /// Runs blocking work on a thread that may block.
  static func offloaded<T: Sendable>(
    _ body: @escaping @Sendable () throws(StoreError) -> T
  ) async throws(StoreError) -> T {
    let result: Result<T, StoreError> = await withCheckedContinuation { continuation in
      DispatchQueue.global().async {
        do throws(StoreError) {
          continuation.resume(returning: .success(try body()))
        } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
    return try result.get()
  }

  // MARK: - Opening

  static func configuration(_ options: StoreOptions) -> Configuration {
    var configuration = Configuration()
    configuration.label = "corad.store"
    configuration.readonly = options.isReadOnly
    configuration.busyMode = .timeout(options.busyTimeoutSeconds)
    configuration.foreignKeysEnabled = true
    configuration.prepareDatabase { db in
      try db.execute(sql: "PRAGMA mmap_size = \(options.mapBytes)")
      if !db.configuration.readonly {
        try db.execute(sql: "PRAGMA synchronous = FULL")
        // A burst leaves a large log behind; give it back at the next checkpoint.
        try db.execute(sql: "PRAGMA journal_size_limit = \(64 << 20)")
        if let limit = options.limitBytes {
          let pageSize = try Int64.fetchOne(db, sql: "PRAGMA page_size") ?? 4_096
          try db.execute(sql: "PRAGMA max_page_count = \(max(1, limit / pageSize))")
        }
      }
    }
    return configuration
  }

  /// Refuses a file that is not ours before anything is written to it.
  private static func examine(_ path: String, isReadOnly: Bool) throws {
    guard FileManager.default.fileExists(atPath: path) else {
      if isReadOnly { throw StoreError.io(code: -Int(ENOENT)) }
      return
    }
    guard let file = FileHandle(forReadingAtPath: path) else { throw StoreError.io(code: -Int(EACCES)) }
    defer { try? file.close() }
    guard let head = try file.read(upToCount: 16), !head.isEmpty else {
      if isReadOnly { throw StoreError.foreign(applicationID: 0) }
      return
    }
    guard head == Data("SQLite format 3\0".utf8) else { throw StoreError.foreign(applicationID: 0) }
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(5)
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    defer { try? queue.close() }
    let (application, version, tables) = try queue.read { db in
      (
        try Int.fetchOne(db, sql: "PRAGMA application_id") ?? 0,
        try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0,
        try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_schema") ?? 0
      )
    }
    // A crash while the file was made leaves a database without tables or marks: it is made again.
    if application == 0, version == 0, tables == 0, !isReadOnly { return }
    guard application == Schema.applicationID else {
      throw StoreError.foreign(applicationID: application)
    }
    guard version <= Schema.version else {
      throw StoreError.newerSchema(found: version, supported: Schema.version)
    }
    guard !isReadOnly || version == Schema.version else {
      throw StoreError.olderSchema(found: version, supported: Schema.version)
    }
  }
}
