public import Adapters

/// Why a run cannot start, go on or be resumed. Nothing was published.
public enum TrainingError: Error, Equatable, Sendable {
  /// A setting out of range; the name is the one used over HTTP.
  case setting(name: String, reason: String)
  case unknownMethod(String)
  /// The method adapts through a shared B and none was given.
  case needsSubspace(method: String)
  /// The rank is above the columns of the subspace at every site asked for.
  case rankAboveSubspace(rank: Int, columns: Int)
  /// The subspace belongs to another base.
  case baseMismatch
  /// The data have fewer usable rows than training needs.
  case tooFewRows(needed: Int, given: Int)
  /// Classification with a single label, or multilabel without any.
  case tooFewLabels(needed: Int, given: [String])
  /// The rows' labels are not the task's.
  case labelMismatch(missing: [String], extra: [String])
  /// A row of another kind; rows count from 0.
  case rowKind(row: Int, expected: TaskKind)
  /// An empty text, a weight that is not above 0, a value that is not finite, a label given twice.
  case row(Int, reason: String)
  /// All values of a regression are equal.
  case constantValues
  /// The version to start from does not fit: another kind, method, rank, site, subspace or label set.
  case incompatibleStart(String)
  /// The loss or a gradient is not finite: the learning rate is too high, most likely.
  case diverged(step: Int, what: String)
  /// The checkpoint is damaged, or of other data, settings or base.
  case checkpoint(String)
  /// The subspace or the version does not fit the base.
  case adapter(AdapterError)
}
