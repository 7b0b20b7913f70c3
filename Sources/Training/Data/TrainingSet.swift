public import Adapters
internal import Models
internal import Tensors
public import Tokenizers

/// Prepared data: tokenised rows, the label set, and a stratified split. Equal examples, settings and seed give equal
/// sets. A value; copies share storage.
public struct TrainingSet: Sendable {
  /// What a row is to be answered with.
  enum Target: Sendable, Equatable {
    case label(Int)
    case labels([Int])
    case value(Float)
    case pair
    /// Places in the row's text, none the first, whose tokens are to be written.
    case tokens([Range<Int>])
  }

  struct Row: Sendable {
    /// Ranges in `ids`: one text, or anchor, positive and perhaps a negative.
    let texts: [Range<Int>]
    let target: Target
    let weight: Float
    var tokens: Int { texts.reduce(0) { $0 + $1.count } }
    /// What its loss counts in a mean: its weight, a writer's once for each token to write.
    var mass: Float {
      guard case .tokens(let ranges) = target else { return weight }
      return weight * Float(ranges.reduce(0) { $0 + $1.count })
    }
  }

  public let kind: TaskKind
  /// Sorted by bytes, or in the order of an existing task; empty for kinds without labels.
  public let labels: [String]
  /// Texts that were cut at the greatest length.
  public let truncatedCount: Int
  /// Mean of the training values (regression).
  public let offset: Float
  /// Standard deviation of the training values (regression).
  public let scale: Float
  let rows: [Row]
  let ids: [Int32]
  let types: [Int32]
  /// Rows to train on, ascending.
  let train: [Int]
  /// Rows to validate on, ascending.
  let validation: [Int]
  /// Of everything that a run's bytes depend on.
  let fingerprint: UInt64

  /// Which of the examples are kept for validation, ascending.
  public var validationExamples: [Int] { validation }
  public var trainCount: Int { train.count }
  public var validationCount: Int { validation.count }
  /// Tokens of all rows.
  public var tokens: Int { ids.count }
  /// Rows below which nothing can be learnt.
  public static let minimumRows = 2

  /// Tokenises and splits.
  ///
  /// - Parameters:
  ///   - maxLength: tokens of one text at most; longer ones are cut and counted.
  ///   - validation: share of the rows kept for validation.
  ///   - labels: the label set of an existing task; the rows must use exactly these.
  ///   - writer: for the kind generation; nil: without conversations and end tokens.
  public init(
    examples: [TrainingExample], kind: TaskKind, tokenizer: Tokenizer, maxLength: Int, validation: Float,
    seed: UInt64, labels expected: [String]? = nil, writer: WriterEncoder? = nil
  ) throws(TrainingError) {
    let writer = writer ?? WriterEncoder(tokenizer: tokenizer, chat: nil, ends: [])
    try self.init(
      examples: examples, kind: kind, validation: validation, seed: seed, labels: expected,
      write: { (example, row) throws(TrainingError) in try writer.tokens(example, row, limit: maxLength) }
    ) { text, pair in
      let encoding = tokenizer.encode(text, pair: pair, limit: maxLength)
      return (encoding.ids, encoding.typeIDs, encoding.isTruncated)
    }
  }

  /// What can be refused before anything is tokenised: too few rows, too few or other labels, a row that is wrong.
  ///
  /// - Parameter writer: refuses conversations that cannot be taken apart; nil: they are not looked into.
  public static func check(
    _ examples: [TrainingExample], kind: TaskKind, labels: [String]? = nil, writer: WriterEncoder? = nil
  ) throws(TrainingError) {
    guard examples.count >= minimumRows else { throw .tooFewRows(needed: minimumRows, given: examples.count) }
    let labels = try LabelSet(examples, kind: kind, expected: labels)
    var builder = Builder(
      write: { (example, row) throws(TrainingError) in
        try writer?.check(example, row)
        return .init(ids: [0, 0], targets: [1..<2])
      }, encode: { _, _ in ([0], [0], false) })
    for (index, example) in examples.enumerated() { _ = try builder.row(example, index, kind: kind, labels) }
  }

  /// The same with another way to get tokens.
  init(
    examples: [TrainingExample], kind: TaskKind, validation: Float, seed: UInt64, labels expected: [String]?,
    write: @escaping (TrainingExample, Int) throws(TrainingError) -> WriterEncoder.Tokens = {
      (_, row) throws(TrainingError) in throw .row(row, reason: "is not to be written")
    },
    encode: @escaping (String, String?) -> (ids: [Int32], types: [Int32], isTruncated: Bool)
  ) throws(TrainingError) {
    guard examples.count >= Self.minimumRows else {
      throw .tooFewRows(needed: Self.minimumRows, given: examples.count)
    }
    let labels = try LabelSet(examples, kind: kind, expected: expected)
    var builder = Builder(write: write, encode: encode)
    var rows: [Row] = []
    rows.reserveCapacity(examples.count)
    for (index, example) in examples.enumerated() {
      rows.append(try builder.row(example, index, kind: kind, labels))
    }
    let split = Split(rows, share: validation, seed: seed)
    guard split.train.count >= Self.minimumRows else {
      throw .tooFewRows(needed: Self.minimumRows, given: split.train.count)
    }
    let moments =
      kind == .regression ? Self.standardisation(split.train.map { rows[$0].target }) : (offset: 0, scale: 1)
    guard moments.scale > 0 else { throw .constantValues }
    (offset, scale) = moments
    self.kind = kind
    self.labels = labels.names
    self.rows = rows
    ids = builder.ids
    types = builder.types
    truncatedCount = builder.truncated
    train = split.train
    self.validation = split.validation
    fingerprint = Self.fingerprint(builder.ids, builder.types, rows, split, labels.names)
  }

  private static func standardisation(_ targets: [Target]) -> (offset: Float, scale: Float) {
    let values = targets.map { target in
      if case .value(let value) = target { Double(value) } else { 0.0 }
    }
    let mean = values.reduce(0, +) / Double(values.count)
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
    return (Float(mean), Float(variance.squareRoot()))
  }

  /// FNV-1a over the words; http://www.isthe.com/chongo/tech/comp/fnv/
  private static func fingerprint(
    _ ids: [Int32], _ types: [Int32], _ rows: [Row], _ split: Split, _ labels: [String]
  ) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func mix(_ word: UInt64) { hash = (hash ^ word) &* 0x100_0000_01b3 }
    for id in ids { mix(UInt64(UInt32(bitPattern: id))) }
    for type in types { mix(UInt64(UInt32(bitPattern: type))) }
    for row in rows {
      for text in row.texts { mix(UInt64(text.upperBound)) }
      mix(UInt64(row.weight.bitPattern))
      switch row.target {
      case .label(let label): mix(UInt64(label))
      case .labels(let all): for label in all { mix(UInt64(label)) }
      case .value(let value): mix(UInt64(value.bitPattern))
      case .pair: mix(1)
      case .tokens(let ranges):
        for range in ranges {
          mix(UInt64(range.lowerBound))
          mix(UInt64(range.upperBound))
        }
      }
    }
    for row in split.validation { mix(UInt64(row)) }
    for label in labels { for byte in label.utf8 { mix(UInt64(byte)) } }
    return hash
  }

  /// The texts of some rows, packed end to end.
  func packed(_ indices: [Int]) -> PackedBatch {
    var ids: [Int32] = []
    var types: [Int32] = []
    var starts = [0]
    for index in indices {
      for text in rows[index].texts {
        ids += self.ids[text]
        types += self.types[text]
        starts.append(ids.count)
      }
    }
    return PackedBatch(ids: ids, types: types, starts: starts)
  }

  /// Rows in order, cut so that a shard has at most `limit` tokens; a longer row stands alone.
  func shards(_ indices: [Int], limit: Int) -> [[Int]] {
    var shards: [[Int]] = []
    var current: [Int] = []
    var tokens = 0
    for index in indices {
      let count = rows[index].tokens
      if !current.isEmpty, tokens + count > limit {
        shards.append(current)
        (current, tokens) = ([], 0)
      }
      current.append(index)
      tokens += count
    }
    if !current.isEmpty { shards.append(current) }
    return shards
  }
}

/// Turns examples into rows and collects their tokens.
private struct Builder {
  let write: (TrainingExample, Int) throws(TrainingError) -> WriterEncoder.Tokens
  let encode: (String, String?) -> (ids: [Int32], types: [Int32], isTruncated: Bool)
  var ids: [Int32] = []
  var types: [Int32] = []
  var truncated = 0

  mutating func row(
    _ example: TrainingExample, _ index: Int, kind: TaskKind, _ labels: LabelSet
  ) throws(TrainingError) -> TrainingSet.Row {
    guard example.kind == kind else { throw .rowKind(row: index, expected: kind) }
    switch example {
    case .classification(let text, let pair, let label, let weight):
      return .init(
        texts: [try take(text, pair, index)], target: .label(try labels.index(label, index)),
        weight: try checked(weight, index))
    case .multilabel(let text, let pair, let names, let weight):
      var all: [Int] = []
      for name in names { all.append(try labels.index(name, index)) }
      guard Set(all).count == all.count else { throw .row(index, reason: "has a label twice") }
      return .init(
        texts: [try take(text, pair, index)], target: .labels(all.sorted()),
        weight: try checked(weight, index))
    case .regression(let text, let pair, let value, let weight):
      guard value.isFinite else { throw .row(index, reason: "has a value that is not finite") }
      return .init(
        texts: [try take(text, pair, index)], target: .value(value), weight: try checked(weight, index))
    case .embedding(let anchor, let positive, let negative):
      var texts = [try take(anchor, nil, index), try take(positive, nil, index)]
      if let negative { texts.append(try take(negative, nil, index)) }
      return .init(texts: texts, target: .pair, weight: 1)
    case .completion(_, let completion, let weight):
      guard !completion.isEmpty else { throw .row(index, reason: "has an empty completion") }
      return try written(example, index, weight)
    case .conversation(_, let weight): return try written(example, index, weight)
    }
  }

  private mutating func written(
    _ example: TrainingExample, _ row: Int, _ weight: Float
  ) throws(TrainingError) -> TrainingSet.Row {
    let weight = try checked(weight, row)
    let tokens = try write(example, row)
    if tokens.isTruncated { truncated += 1 }
    let start = ids.count
    ids += tokens.ids
    types += Array(repeating: 0, count: tokens.ids.count)
    return .init(texts: [start..<ids.count], target: .tokens(tokens.targets), weight: weight)
  }

  private func checked(_ weight: Float, _ row: Int) throws(TrainingError) -> Float {
    guard weight.isFinite, weight > 0 else {
      throw .row(row, reason: "has weight \(weight), must be above 0")
    }
    return weight
  }

  private mutating func take(_ text: String, _ pair: String?, _ row: Int) throws(TrainingError) -> Range<Int>
  {
    guard !text.isEmpty else { throw .row(row, reason: "has an empty text") }
    let encoding = encode(text, pair)
    guard !encoding.ids.isEmpty else { throw .row(row, reason: "has a text without tokens") }
    if encoding.isTruncated { truncated += 1 }
    let start = ids.count
    ids += encoding.ids
    types += encoding.types
    return start..<ids.count
  }
}
