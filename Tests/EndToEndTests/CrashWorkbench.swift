import DaemonSupport
import Digests
import Foundation
import GRDB
import HTTPWire
import Store
import Testing

/// What crash tests train and read: bodies of requests, and the store's file seen from outside.
enum CrashWorkbench {
  /// Optimiser steps between two checkpoints of every daemon here.
  static let checkpointSteps = 8
  static let arguments = ["--checkpoint-steps", "\(checkpointSteps)"]
  /// Jobs whose end is compared with an uninterrupted run's, by method.
  static let methods = ["cora", "lora"]

  /// Rows that a head can tell apart, or that a writer can learn.
  private static func rows(_ count: Int, kind: String = "classification") -> String {
    let things = ["sky", "car", "shirt", "house", "wall", "flower", "bird", "apple"]
    let meals = ["soup", "bread", "rice", "cheese", "omelette", "cake", "noodles", "salad"]
    let (text, label) = kind == "generation" ? ("prompt", "completion") : ("text", "label")
    return (0..<count).map { index in
      index.isMultiple(of: 2)
        ? #"{"\#(text)":"the \#(things[index / 2 % 8]) number \#(index) is red","\#(label)":"colour"}"#
        : #"{"\#(text)":"we cook \#(meals[index / 2 % 8]) for \#(index) guests","\#(label)":"food"}"#
    }.joined(separator: ",")
  }

  /// A job of 8 steps an epoch, always the same but for its task.
  static func long(
    _ task: String, method: String, kind: String = "classification", epochs: Int = 10
  ) -> String {
    """
    {"task":"\(task)","kind":"\(kind)","method":"\(method)","rank":4,"epochs":\(epochs),"batch_size":8,
     "validation":0.1,"seed":7,"data":{"examples":[\(rows(64, kind: kind))]}}
    """
  }

  /// A job of a few steps.
  static func short(_ task: String, method: String = "cora", seed: UInt64) -> String {
    """
    {"task":"\(task)","method":"\(method)","rank":4,"epochs":1,"batch_size":4,"validation":0,"seed":\(seed),
     "data":{"examples":[\(rows(12))]}}
    """
  }

  static func lines(_ count: Int, seed: UInt64) -> String {
    (0..<count).map { #"{"text":"row \#($0) of \#(seed)","label":"\#($0 % 3)"}"# }.joined(separator: "\n")
      + "\n"
  }
}

/// The database file, read beside a daemon or without one.
struct StoreFile: Sendable {
  let path: String

  private func read<T>(_ body: (Database) throws -> T) throws -> T {
    var configuration = Configuration()
    configuration.readonly = true
    configuration.busyMode = .timeout(10)
    let queue = try DatabaseQueue(path: path, configuration: configuration)
    defer { try? queue.close() }
    return try queue.read(body)
  }

  func version(_ version: Int, of task: String) throws -> [UInt8]? {
    try read {
      try Data.fetchOne(
        $0, sql: "SELECT bytes FROM versions WHERE task = ? AND version = ?", arguments: [task, version])
    }.map { [UInt8]($0) }
  }

  /// All rows of a complete data set, as they are stored.
  func dataset(_ id: String) throws -> [UInt8]? {
    try read { database in
      let isThere = try Bool.fetchOne(
        database, sql: "SELECT EXISTS (SELECT 1 FROM datasets WHERE id = ? AND is_complete = 1)",
        arguments: [id])
      guard isThere == true else { return nil }
      return try Data.fetchAll(
        database, sql: "SELECT bytes FROM dataset_batches WHERE dataset = ? ORDER BY first_row",
        arguments: [id]
      ).flatMap { [UInt8]($0) }
    }
  }

  func count(_ sql: String, _ argument: String? = nil) throws -> Int {
    try read { try Int.fetchOne($0, sql: sql, arguments: argument.map { [$0] } ?? []) ?? 0 }
  }

  func text(_ sql: String, _ argument: String) throws -> String? {
    try read { try String.fetchOne($0, sql: sql, arguments: [argument]) }
  }

  /// Opens it as a daemon does and reads all of it.
  func verify() async throws -> [String] {
    let store = try Store(path: path, now: { 0 }, makeID: { $0 })
    let faults = try await store.verify { "\(Digest.sha256(of: $0))" }
    try store.close()
    return faults
  }
}

extension LiveDaemon {
  /// Sends a request that has to succeed.
  func done(
    _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], body: String? = nil
  ) async throws -> JSON {
    let answer = try await send(method, path, fields: fields, body: body)
    guard (200..<300).contains(answer.status) else {
      throw Failure(description: "\(method) \(path): \(answer.status) \(answer.text)")
    }
    return answer.json
  }

  /// Waits until a job has ended; its last state.
  func finished(_ job: String) async throws -> JSON {
    while true {
      let now = try await done(.get, "/jobs/\(job)")
      if ["succeeded", "failed", "cancelled"].contains(now["state"].string) { return now }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  func accept(_ body: String, key: String? = nil) async throws -> String {
    let job = try await done(.post, "/train", fields: key.map { [("Idempotency-Key", $0)] } ?? [], body: body)
    return try #require(job["id"].string)
  }
}

/// A store with a served task `ready` of two versions and a data set, made once, and what uninterrupted runs end with.
actor CrashPreparation {
  static let shared = CrashPreparation()

  struct Prepared: Sendable {
    let folder: TemporaryFolder
    /// Bytes of the two versions of `ready`.
    let ready: [Int: [UInt8]]
    /// What `ready` answers to `question`, by version.
    let answers: [Int: JSON]
    let dataset: String
    let datasetBytes: [UInt8]
    /// Bytes of the version that `CrashWorkbench.long` ends with, by method.
    let uninterrupted: [String: [UInt8]]

    var store: String { folder.path + "/ready.sqlite" }
  }

  static let question = "the door is red"
  private var made: Task<Prepared, any Error>?

  func prepared() async throws -> Prepared {
    if made == nil { made = Task { try await Self.make() } }
    guard let made else { throw LiveDaemon.Failure(description: "nothing prepared") }
    return try await made.value
  }

  private static func make() async throws -> Prepared {
    let folder = try TemporaryFolder()
    let file = StoreFile(path: folder.path + "/ready.sqlite")
    try await FirstStart.shared.copy(to: file.path)
    var daemon = try await LiveDaemon.start(
      store: file.path, folder: folder.path, arguments: CrashWorkbench.arguments)
    var ready: [Int: [UInt8]] = [:]
    var answers: [Int: JSON] = [:]
    for version in 1...2 {
      let job = try await daemon.accept(CrashWorkbench.short("ready", seed: UInt64(version)))
      let ended = try await daemon.finished(job)
      try #require(ended["version"].int == version, "\(ended)")
      let bytes = try #require(try file.version(version, of: "ready"))
      ready[version] = bytes
      let answer = try await daemon.done(
        .post, "/adapters/ready/infer", body: #"{"inputs":"\#(question)"}"#)
      answers[version] = answer["predictions"][0]
    }
    let dataset = try await daemon.done(
      .post, "/datasets?name=kept&kind=classification", fields: [("Content-Type", "application/x-ndjson")],
      body: CrashWorkbench.lines(700, seed: 1))
    try #require(await daemon.terminate() == .exit(0), "\(daemon.log)")
    // The runs to compare with, in a copy: the store for the crashes knows nothing of them.
    let copy = StoreFile(path: folder.path + "/reference.sqlite")
    try FileManager.default.copyItem(atPath: file.path, toPath: copy.path)
    daemon = try await LiveDaemon.start(
      store: copy.path, folder: folder.path, arguments: CrashWorkbench.arguments)
    var uninterrupted: [String: [UInt8]] = [:]
    for method in CrashWorkbench.methods {
      let job = try await daemon.accept(CrashWorkbench.long("reference-\(method)", method: method))
      let ended = try await daemon.finished(job)
      try #require(ended["state"].string == "succeeded", "\(ended)")
      let bytes = try #require(try copy.version(1, of: "reference-\(method)"))
      uninterrupted[method] = bytes
    }
    await daemon.terminate()
    let id = try #require(dataset["id"].string)
    return Prepared(
      folder: folder, ready: ready, answers: answers, dataset: id,
      datasetBytes: try #require(try file.dataset(id)), uninterrupted: uninterrupted)
  }
}
