internal import Foundation
internal import GRDB

/// Whether a file is a store of ours, asked before anything is written to it: opening a database for writing already
/// changes its journal mode.
enum FileCheck {
  private static let magic = Data("SQLite format 3\0".utf8)

  /// - Throws: `.foreignFile`, `.newerSchema`, `.corrupt`, `.io`. A file that is absent or empty passes.
  static func examine(_ path: String) throws {
    guard FileManager.default.fileExists(atPath: path) else { return }
    guard let file = FileHandle(forReadingAtPath: path) else {
      throw StoreError.io(code: EACCES, detail: "the file cannot be read")
    }
    let head = try file.read(upToCount: magic.count)
    try file.close()
    guard let head, !head.isEmpty else { return }
    guard head == magic else { throw StoreError.foreignFile(path: path) }
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(10)
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    defer { try? queue.close() }
    try queue.read { database in
      let id = try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0
      let isEmpty = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") == 0
      // A crash while the file was made leaves a database without tables: it is made again.
      guard id == Schema.applicationID || (id == 0 && isEmpty) else {
        throw StoreError.foreignFile(path: path)
      }
      guard try !Schema.migrator.hasBeenSuperseded(database) else { throw StoreError.newerSchema(path: path) }
    }
  }
}
