internal import Tensors

/// Validation rows drawn from every stratum in proportion: a stratum is a label, a row's rarest label, or a tenth of
/// the values; pairs and texts to write are one stratum. A stratum keeps at least one row to train on.
struct Split {
  private static let valueStrata = 10
  /// The random stream of the split, apart from those of epochs and parameters.
  private static let stream: UInt64 = 0x5eed_0001

  let train: [Int]
  let validation: [Int]

  init(_ rows: [TrainingSet.Row], share: Float, seed: UInt64) {
    guard share > 0 else {
      train = Array(rows.indices)
      validation = []
      return
    }
    var random = RandomSource(seed: seed, stream: Self.stream)
    var strata = Self.strata(rows)
    var chosen = Set<Int>()
    for index in strata.indices {
      random.shuffle(&strata[index])
      let wanted = Int((Double(share) * Double(strata[index].count)).rounded())
      chosen.formUnion(strata[index].prefix(min(wanted, strata[index].count - 1)))
    }
    // Strata too small for a row of their own still give one together, where the largest can spare it.
    if chosen.isEmpty, let largest = strata.max(by: { $0.count < $1.count }), largest.count >= 2,
      rows.count >= 4
    {
      chosen.insert(largest[0])
    }
    train = rows.indices.filter { !chosen.contains($0) }
    validation = chosen.sorted()
  }

  private static func strata(_ rows: [TrainingSet.Row]) -> [[Int]] {
    var counts: [Int: Int] = [:]
    var values: [(Float, Int)] = []
    for (index, row) in rows.enumerated() {
      if case .labels(let labels) = row.target { for label in labels { counts[label, default: 0] += 1 } }
      if case .value(let value) = row.target { values.append((value, index)) }
    }
    if !values.isEmpty {
      let sorted = values.sorted { $0 < $1 }.map(\.1)
      let size = max(1, (sorted.count + valueStrata - 1) / valueStrata)
      return stride(from: 0, to: sorted.count, by: size).map {
        Array(sorted[$0..<min($0 + size, sorted.count)])
      }
    }
    var strata: [Int: [Int]] = [:]
    for (index, row) in rows.enumerated() {
      let key =
        switch row.target {
        case .label(let label): label
        case .labels(let labels):
          labels.min { (counts[$0, default: 0], $0) < (counts[$1, default: 0], $1) } ?? -1
        case .value, .pair, .tokens: 0
        }
      strata[key, default: []].append(index)
    }
    return strata.sorted { $0.key < $1.key }.map(\.value)
  }
}
