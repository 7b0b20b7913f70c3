/// Sequences laid end to end: no row is padding.
public struct PackedBatch: Sendable, Equatable {
  /// One id per token, sequence after sequence.
  public let ids: [Int32]
  /// Segment of each token, or empty where all are 0.
  public let types: [Int32]
  /// Where each sequence starts, and at the end the number of tokens: one more than there are sequences.
  public let starts: [Int]

  /// - Precondition: `starts` begins with 0, ascends strictly and ends with `ids.count`; `types` is empty or as long
  ///   as `ids`.
  public init(ids: [Int32], types: [Int32] = [], starts: [Int]) {
    precondition(starts.first == 0 && starts.last == ids.count, "starts cover the tokens")
    precondition(zip(starts, starts.dropFirst()).allSatisfy { $0 < $1 }, "every sequence has tokens")
    precondition(types.isEmpty || types.count == ids.count, "one type per token")
    self.ids = ids
    self.types = types
    self.starts = starts
  }

  /// - Precondition: no sequence is empty.
  public init(sequences: [[Int32]]) {
    var starts = [0]
    for sequence in sequences { starts.append((starts.last ?? 0) + sequence.count) }
    self.init(ids: sequences.flatMap { $0 }, starts: starts)
  }

  /// Sequences.
  public var count: Int { starts.count - 1 }
  /// Tokens.
  public var rows: Int { ids.count }

  /// The token rows of a sequence.
  public func rows(of sequence: Int) -> Range<Int> { starts[sequence]..<starts[sequence + 1] }
}
