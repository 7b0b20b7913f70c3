import Adapters
import Foundation
import Logging
import Models
import Serving
import Testing
import Training

/// A real base: the folder that the test script fetches.
enum TestModel {
  static var directory: String {
    ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
      ?? URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("models/all-MiniLM-L6-v2").path
  }
}

/// A store that holds the default subspace and nothing else, made once: extracting it is the slow part of a first start.
actor FirstStart {
  static let shared = FirstStart()
  private var path: String?

  /// Copies it to `target`.
  func copy(to target: String) async throws {
    if path == nil {
      let made = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).sqlite").path
      var configuration = ServingConfiguration(modelDirectory: TestModel.directory, storePath: made)
      configuration.defaultSubspaceRank = 16
      let node = try await Node.open(
        configuration, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      await node.close()
      path = made
    }
    guard let path else { return }
    try FileManager.default.copyItem(atPath: path, toPath: target)
  }
}

/// A node on a store in a temporary folder, running until the body ends.
@discardableResult
func withNode<R: Sendable>(
  store: String? = nil, _ adjust: (inout ServingConfiguration) -> Void = { _ in },
  _ body: @Sendable (Node) async throws -> R
) async throws -> R {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let path = store ?? folder.appendingPathComponent("store.sqlite").path
  if !FileManager.default.fileExists(atPath: path) { try await FirstStart.shared.copy(to: path) }
  var configuration = ServingConfiguration(modelDirectory: TestModel.directory, storePath: path)
  configuration.defaultSubspaceRank = 16
  adjust(&configuration)
  let node = try await Node.open(configuration, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  return try await withThrowingTaskGroup(of: Void.self, returning: R.self) { group in
    group.addTask { await node.run() }
    let result: Result<R, any Error>
    do { result = .success(try await body(node)) } catch { result = .failure(error) }
    await node.drain()
    try await group.waitForAll()
    await node.close()
    return try result.get()
  }
}

extension Node {
  /// Trains on a few made rows and waits for the end.
  func learn(
    _ task: String, method: String = "cora", activate: Activation = .always, seed: UInt64 = 0,
    idempotencyKey: String? = nil, epochs: Int = 4
  ) async throws -> JobSummary {
    let job = try await start(
      task, method: method, activate: activate, seed: seed, idempotencyKey: idempotencyKey, epochs: epochs)
    return try await finished(job.id)
  }

  func start(
    _ task: String, method: String = "cora", activate: Activation = .always, seed: UInt64 = 0,
    idempotencyKey: String? = nil, epochs: Int = 4, rows: [TrainingExample] = Rows.colours,
    subspace: String? = nil, from: (task: String, version: Int)? = nil,
    change: (inout TrainingSettings) -> Void = { _ in }
  ) async throws -> JobSummary {
    var settings = TrainingSettings.defaults(kind: .classification, method: method, on: .encoder)
    settings.epochs = epochs
    settings.batchSize = 8
    settings.rank = 4
    settings.alpha = 8
    settings.seed = seed
    settings.validation = 0.2
    change(&settings)
    return try await train(
      TrainingRequest(
        task: task, data: .examples(rows), settings: settings, subspace: subspace, activate: activate,
        from: from, idempotencyKey: idempotencyKey, requestDigest: "\(task)\(method)\(seed)"),
      principal: .anonymous)
  }

  func finished(_ job: String) async throws -> JobSummary {
    var last: Int64 = 0
    while true {
      let (events, isFinal) = try await self.events(of: job, after: last, waitMilliseconds: 2_000)
      last = events.last?.id ?? last
      if isFinal { return try await self.job(job) }
    }
  }

  func label(_ text: String, task: String, version: Int? = nil) async throws -> (
    label: String, prediction: Prediction, source: AnswerSource
  ) {
    var options = InferenceOptions()
    options.version = version
    let result = try await infer(
      task: task, inputs: InferenceInputs([text]), options: options,
      timeoutMilliseconds: nil, principal: .anonymous)
    let prediction = try #require(result.predictions.first)
    guard case .classification(let scores) = prediction,
      let best = scores.indices.max(by: { scores[$0] < scores[$1] })
    else {
      throw ServingError.internal(cause: "not a classification")
    }
    return (result.source(0).labels[best], prediction, result.source(0))
  }
}

/// Rows that a head can tell apart.
enum Rows {
  static let colours: [TrainingExample] = {
    let subjects = [
      "the sky", "a car", "my shirt", "her house", "the wall", "this flower", "that bird", "an apple",
    ]
    let foods = ["soup", "bread", "rice", "cheese", "an omelette", "a cake", "noodles", "a salad"]
    return subjects.flatMap { subject in
      ["blue", "red"].map { .classification(text: "\(subject) is \($0)", label: "colour") }
    }
      + foods.flatMap { food in
        ["for lunch", "for dinner"].map { .classification(text: "i cook \(food) \($0)", label: "food") }
      }
  }()
}
