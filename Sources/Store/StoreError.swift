internal import GRDB

/// What a record is, in errors and in the report of ``Store/verify(digest:)``.
public enum RecordKind: String, Sendable, CaseIterable {
  case task, version, subspace, dataset, job, checkpoint
}

/// Why a store operation failed. Nothing was changed when one is thrown, unless a case says otherwise.
public enum StoreError: Error, Equatable, Sendable {
  /// No such record. A version's id is `task@number`.
  case notFound(RecordKind, id: String)
  /// Compare-and-set failed: `active` is the version that is active now.
  case conflict(active: Int?)
  /// The task answers another kind; a task keeps its kind for life.
  case kindConflict(actual: String)
  /// The name already stands for another record.
  case nameTaken(RecordKind, name: String)
  /// The job is in `state`, from which the asked transition (or write) is not allowed.
  case jobState(state: JobState)
  /// The idempotency key was used with another request; `job` is what it made.
  case idempotencyConflict(job: String)
  /// Something live refers to the record: `by` names one of them.
  case inUse(RecordKind, id: String, by: String)
  /// The task has no earlier active version that still exists.
  case nothingToRollBack(task: String)
  /// A value that the record cannot hold (an empty name, a negative step); `field` names it.
  case invalid(field: String)
  /// Another process holds the store.
  case locked
  /// The file is a database (or something else) that is not a corad store.
  case foreign(applicationID: Int)
  /// The file was written by a newer corad.
  case newerSchema(found: Int, supported: Int)
  /// The file is a store of an older corad, opened read-only, so it cannot be migrated.
  case olderSchema(found: Int, supported: Int)
  /// The file is damaged.
  case corrupt
  /// The disk, or the configured limit, is full.
  case full
  /// The store was opened read-only, or its file cannot be written.
  case readOnly
  /// The store was closed.
  case closed
  /// SQLite's extended result code, or a negated `errno` of a system call.
  case io(code: Int)
}

extension StoreError {
  /// Translates whatever a database access threw; our own errors pass unchanged.
  init(translating error: any Error) {
    if let error = error as? StoreError {
      self = error
      return
    }
    guard let error = error as? DatabaseError else {
      // Rows that do not decode: the schema is STRICT, so the file is not what was written.
      self = .corrupt
      return
    }
    switch error.resultCode {
    case .SQLITE_FULL: self = .full
    case .SQLITE_CORRUPT, .SQLITE_NOTADB: self = .corrupt
    case .SQLITE_READONLY: self = .readOnly
    case .SQLITE_BUSY, .SQLITE_LOCKED: self = .locked
    case .SQLITE_MISUSE: self = .closed
    default: self = .io(code: Int(error.extendedResultCode.rawValue))
    }
  }
}
