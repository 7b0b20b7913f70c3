internal import Adapters

/// The labels of a task, compared by bytes.
struct LabelSet {
  /// Sorted by bytes, or in the existing task's order.
  let names: [String]
  private let indices: [LabelKey: Int]

  /// Collects the rows' labels and holds them against an existing task's.
  init(_ examples: [TrainingExample], kind: TaskKind, expected: [String]?) throws(TrainingError) {
    var found: [LabelKey: String] = [:]
    for example in examples {
      switch example {
      case .classification(_, _, let label, _): found[LabelKey(label)] = label
      case .multilabel(_, _, let labels, _): for label in labels { found[LabelKey(label)] = label }
      case .regression, .embedding, .completion, .conversation: break
      }
    }
    let sorted = found.sorted { $0.key < $1.key }.map(\.value)
    let needed = kind == .classification ? 2 : kind == .multilabel ? 1 : 0
    guard sorted.count >= needed else { throw .tooFewLabels(needed: needed, given: sorted) }
    if let empty = sorted.first, empty.isEmpty {
      throw .setting(name: "label", reason: "is empty in a row")
    }
    if let expected, needed > 0 {
      let keys = Set(expected.map(LabelKey.init))
      let missing = expected.filter { found[LabelKey($0)] == nil }
      let extra = sorted.filter { !keys.contains(LabelKey($0)) }
      guard missing.isEmpty, extra.isEmpty else { throw .labelMismatch(missing: missing, extra: extra) }
      names = expected
    } else {
      names = sorted
    }
    indices = Dictionary(
      names.enumerated().map { (LabelKey($1), $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// The index of a row's label.
  func index(_ label: String, _ row: Int) throws(TrainingError) -> Int {
    guard let index = indices[LabelKey(label)] else { throw .row(row, reason: "has an unknown label") }
    return index
  }
}
