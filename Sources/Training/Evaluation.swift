public import Adapters

/// How right predictions are, against known answers.
public struct Evaluation: Sendable, Equatable {
  /// One label's figures.
  public struct LabelFigures: Sendable, Equatable {
    public let label: String
    public let precision: Double
    public let recall: Double
    public let f1: Double
    /// Rows that carry the label.
    public let support: Int
  }

  public let rows: Int
  /// Share of rows that are right; multilabel: every label of the row. nil for regression.
  public private(set) var accuracy: Double?
  /// Mean of F1 over the labels that occur in the answers or in the predictions.
  public private(set) var macroF1: Double?
  public private(set) var perLabel: [LabelFigures] = []
  /// Classification: `confusion[truth][predicted]` counts rows.
  public private(set) var confusion: [[Int]] = []
  /// In the values' own units squared; nil but for regression.
  public private(set) var meanSquaredError: Double?
  public private(set) var meanAbsoluteError: Double?

  /// Holds predictions against examples, in order.
  ///
  /// - Throws: `.rowKind` for an example of another kind, `.row` for a label that the task does not have.
  public init(
    kind: TaskKind, labels: [String], predictions: [Prediction], examples: [TrainingExample]
  ) throws(TrainingError) {
    let indices = Dictionary(
      labels.enumerated().map { (LabelKey($1), $0) }, uniquingKeysWith: { first, _ in first })
    var truths: [TrainingSet.Target] = []
    for (row, example) in examples.enumerated() {
      guard example.kind == kind else { throw .rowKind(row: row, expected: kind) }
      switch example {
      case .classification(_, _, let label, _):
        guard let index = indices[LabelKey(label)] else { throw .row(row, reason: "has an unknown label") }
        truths.append(.label(index))
      case .multilabel(_, _, let names, _):
        let found = names.compactMap { indices[LabelKey($0)] }
        guard found.count == names.count else { throw .row(row, reason: "has an unknown label") }
        truths.append(.labels(found.sorted()))
      case .regression(_, _, let value, _): truths.append(.value(value))
      case .embedding, .completion, .conversation: truths.append(.pair)
      }
    }
    self.init(kind: kind, labels: labels, predictions: predictions, truths: truths)
  }

  init(kind: TaskKind, labels: [String], predictions: [Prediction], truths: [TrainingSet.Target]) {
    rows = truths.count
    var hits = [Int](repeating: 0, count: labels.count)
    var given = hits
    var support = hits
    var right = 0
    var (squares, distances) = (0.0, 0.0)
    if kind == .classification {
      confusion = Array(repeating: Array(repeating: 0, count: labels.count), count: labels.count)
    }
    for (prediction, truth) in zip(predictions, truths) {
      switch (prediction, truth) {
      case (.classification(let scores), .label(let label)):
        let answer = scores.indices.max { (scores[$0], -$0) < (scores[$1], -$1) } ?? 0
        confusion[label][answer] += 1
        support[label] += 1
        given[answer] += 1
        if answer == label {
          hits[label] += 1
          right += 1
        }
      case (.multilabel(_, let chosen), .labels(let wanted)):
        if chosen == wanted { right += 1 }
        for label in chosen { given[label] += 1 }
        for label in wanted {
          support[label] += 1
          if chosen.contains(label) { hits[label] += 1 }
        }
      case (.regression(let value), .value(let wanted)):
        let difference = Double(value) - Double(wanted)
        squares += difference * difference
        distances += abs(difference)
      default: break
      }
    }
    let count = Double(max(rows, 1))
    switch kind {
    case .classification, .multilabel:
      accuracy = Double(right) / count
      perLabel = labels.indices.map { label in
        let precision = given[label] > 0 ? Double(hits[label]) / Double(given[label]) : 0
        let recall = support[label] > 0 ? Double(hits[label]) / Double(support[label]) : 0
        let f1 = hits[label] > 0 ? 2 * precision * recall / (precision + recall) : 0
        return LabelFigures(
          label: labels[label], precision: precision, recall: recall, f1: f1, support: support[label])
      }
      let seen = labels.indices.filter { support[$0] + given[$0] > 0 }
      macroF1 = seen.isEmpty ? 0 : seen.reduce(0) { $0 + perLabel[$1].f1 } / Double(seen.count)
    case .regression:
      meanSquaredError = squares / count
      meanAbsoluteError = distances / count
    case .embedding, .generation: break
    }
  }
}
