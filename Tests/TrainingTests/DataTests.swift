import Adapters
import Models
import Testing

@testable import Training

struct DataTests {
  /// Tokens are the text's bytes: enough to see rows, cuts and splits.
  static func encode(_ text: String, _ pair: String?) -> (ids: [Int32], types: [Int32], isTruncated: Bool) {
    let first = text.utf8.map { Int32($0) }
    let second = (pair ?? "").utf8.map { Int32($0) }
    let types = first.map { _ in Int32(0) } + second.map { _ in Int32(1) }
    return (Array((first + second).prefix(10)), Array(types.prefix(10)), first.count + second.count > 10)
  }

  static func set(
    _ examples: [TrainingExample], _ kind: TaskKind, validation: Float = 0, seed: UInt64 = 1,
    labels: [String]? = nil
  ) throws(TrainingError) -> TrainingSet {
    try TrainingSet(
      examples: examples, kind: kind, validation: validation, seed: seed, labels: labels, encode: encode)
  }

  static func classified(_ counts: [String: Int]) -> [TrainingExample] {
    counts.sorted { $0.key < $1.key }.flatMap { label, count in
      (0..<count).map { .classification(text: "text \(label) \($0)", label: label) }
    }
  }

  @Test func splitIsStratifiedAndReproducible() throws {
    let examples = Self.classified(["a": 40, "b": 20, "c": 3, "d": 1])
    let set = try Self.set(examples, .classification, validation: 0.1)
    func count(_ label: Int, _ rows: [Int]) -> Int {
      rows.filter { set.rows[$0].target == .label(label) }.count
    }
    #expect((0..<4).map { count($0, set.validation) } == [4, 2, 0, 0])
    #expect(set.trainCount + set.validationCount == 64)
    #expect(Set(set.train).isDisjoint(with: set.validation))
    let same = try Self.set(examples, .classification, validation: 0.1)
    #expect(same.validation == set.validation && same.fingerprint == set.fingerprint)
    let other = try Self.set(examples, .classification, validation: 0.1, seed: 2)
    #expect(other.validation != set.validation)
    #expect(set.truncatedCount == 0 && set.labels == ["a", "b", "c", "d"])
  }

  @Test func valuesAreStratifiedByTenths() throws {
    let examples = (0..<100).map { TrainingExample.regression(text: "t\($0)", value: Float($0)) }
    let set = try Self.set(examples, .regression, validation: 0.1)
    let tenths = set.validation.map { $0 / 10 }
    #expect(tenths == Array(0..<10))
    let values = set.train.map { Double($0) }
    let mean = values.reduce(0, +) / Double(values.count)
    #expect(abs(Double(set.offset) - mean) < 1e-4)
  }

  @Test func saysWhatIsMissing() {
    #expect(throws: TrainingError.tooFewRows(needed: 2, given: 1)) {
      try Self.set([.classification(text: "x", label: "a")], .classification)
    }
    #expect(throws: TrainingError.tooFewLabels(needed: 2, given: ["a"])) {
      try Self.set(Self.classified(["a": 5]), .classification)
    }
    #expect(throws: TrainingError.labelMismatch(missing: ["z"], extra: ["b"])) {
      try Self.set(Self.classified(["a": 2, "b": 2]), .classification, labels: ["z", "a"])
    }
    #expect(throws: TrainingError.rowKind(row: 1, expected: .regression)) {
      try Self.set([.regression(text: "x", value: 1), .embedding(anchor: "a", positive: "b")], .regression)
    }
    #expect(throws: TrainingError.constantValues) {
      try Self.set([.regression(text: "x", value: 1), .regression(text: "y", value: 1)], .regression)
    }
    for bad: TrainingExample in [
      .regression(text: "x", value: .nan), .regression(text: "", value: 1),
      .regression(text: "x", value: 1, weight: 0), .regression(text: "x", value: 1, weight: .infinity),
    ] {
      do {
        _ = try Self.set([.regression(text: "x", value: 1), bad], .regression)
        Issue.record("\(bad) was taken")
      } catch {
        guard case .row(1, _) = error else {
          Issue.record("\(error)")
          return
        }
      }
    }
  }

  @Test func labelsCompareByBytesAndKeepATasksOrder() throws {
    let examples: [TrainingExample] = [
      .classification(text: "x", label: "\u{e9}"), .classification(text: "y", label: "e\u{301}"),
    ]
    let set = try Self.set(examples, .classification)
    #expect(set.labels.count == 2)
    let kept = try Self.set(Self.classified(["a": 2, "b": 2]), .classification, labels: ["b", "a"])
    #expect(kept.labels == ["b", "a"])
    #expect(kept.rows[0].target == .label(1))
  }

  @Test func shardsAreCutByTokens() throws {
    let examples = (0..<9).map {
      TrainingExample.classification(text: String(repeating: "x", count: 4), label: $0 % 2 == 0 ? "a" : "b")
    }
    let set = try Self.set(examples, .classification)
    #expect(set.shards(Array(0..<9), limit: 9).map(\.count) == [2, 2, 2, 2, 1])
    #expect(set.shards(Array(0..<3), limit: 1).map(\.count) == [1, 1, 1])
    let packed = set.packed([0, 2])
    #expect(packed.starts == [0, 4, 8])
  }

  @Test func settingsNameWhatIsOutOfRange() throws {
    var settings = TrainingSettings.defaults(kind: .classification, method: "cora", on: .encoder)
    try settings.validate(on: .encoder)
    settings.learningRate = .nan
    #expect(throws: TrainingError.self) { try settings.validate(on: .encoder) }
    settings = .defaults(kind: .embedding, method: "lora", on: .encoder)
    settings.batchSize = 1
    #expect(throws: TrainingError.self) { try settings.validate(on: .encoder) }
    settings = .defaults(kind: .classification, method: "nothing", on: .encoder)
    #expect(throws: TrainingError.unknownMethod("nothing")) { try settings.validate(on: .encoder) }
    settings = .defaults(kind: .classification, method: "cora", on: .encoder)
    settings.sites = [.query, .query]
    #expect(throws: TrainingError.self) { try settings.validate(on: .encoder) }
  }

  @Test func schedules() {
    for schedule in LearningRateSchedule.allCases {
      let factors = (0..<100).map { schedule.factor(step: $0, total: 100, warmup: 0.1) }
      #expect(factors[0] == 0.1 && factors[9] == 1 && factors[10] == 1)
      #expect(factors.allSatisfy { $0 > 0 && $0 <= 1 })
      #expect(schedule == .constant ? factors[99] == 1 : factors[99] < 0.02)
    }
    #expect(LearningRateSchedule.linear.factor(step: 0, total: 1, warmup: 0) == 1)
  }

  @Test func thresholdsMaximiseF1() {
    let scores: [[Float]] = [[0.9, 0.1], [0.3, 0.2], [0.2, 0.3], [0.1, 0.4]]
    let chosen = Thresholds.choose(scores: scores, truths: [[0], [0], [], []], labels: 2)
    #expect(chosen == [0.25, 0.5])
  }

  @Test func evaluation() throws {
    let predictions: [Prediction] = [
      .classification(scores: [0.9, 0.1]), .classification(scores: [0.2, 0.8]),
      .classification(scores: [0.6, 0.4]),
    ]
    let examples: [TrainingExample] = ["a", "b", "b"].map { .classification(text: "x", label: $0) }
    let evaluation = try Evaluation(
      kind: .classification, labels: ["a", "b"], predictions: predictions, examples: examples)
    #expect(evaluation.accuracy == 2.0 / 3)
    #expect(evaluation.confusion == [[1, 0], [1, 1]])
    #expect(abs((evaluation.macroF1 ?? 0) - 2.0 / 3) < 1e-12)
    #expect(throws: TrainingError.row(0, reason: "has an unknown label")) {
      try Evaluation(
        kind: .classification, labels: ["a", "b"], predictions: [predictions[0]],
        examples: [.classification(text: "x", label: "c")])
    }
  }
}
