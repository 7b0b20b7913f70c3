internal import Adapters
internal import Tensors

/// The figures of one validation.
struct Validation {
  let set: TrainingSet
  let settings: TrainingSettings
  let rows: [Int]
  /// `[texts, width]`, row after row.
  let outputs: [Float]
  let lossSum: Double
  /// Multilabel: chosen on these rows; else empty.
  let thresholds: [Float]

  init(set: TrainingSet, settings: TrainingSettings, rows: [Int], outputs: [Float], lossSum: Double) {
    self.set = set
    self.settings = settings
    self.rows = rows
    self.outputs = outputs
    self.lossSum = lossSum
    thresholds =
      settings.kind == .multilabel
      ? Thresholds.choose(
        scores: Self.predictions(set, outputs, rows.count, thresholds: []).map(\.scores),
        truths: rows.map { set.rows[$0].labels }, labels: set.labels.count) : []
  }

  func metrics(epoch: Int, trainingLoss: Double) -> TrainingMetrics {
    let weight = rows.reduce(0.0) { $0 + Double(set.rows[$1].mass) }
    if settings.kind == .embedding { return retrieval(epoch, trainingLoss) }
    if settings.kind == .generation {
      return TrainingMetrics(
        epoch: epoch, trainingLoss: trainingLoss, rows: rows.count, validationLoss: lossSum / weight,
        perplexity: TrainingMetrics.perplexity(lossSum / weight))
    }
    let predictions = Self.predictions(set, outputs, rows.count, thresholds: thresholds)
    let evaluation = Evaluation(
      kind: settings.kind, labels: set.labels, predictions: predictions,
      truths: rows.map { set.rows[$0].target })
    return TrainingMetrics(
      epoch: epoch, trainingLoss: trainingLoss, rows: rows.count, validationLoss: lossSum / weight,
      accuracy: evaluation.accuracy, macroF1: evaluation.macroF1,
      rootMeanSquaredError: evaluation.meanSquaredError?.squareRoot())
  }

  private static func predictions(
    _ set: TrainingSet, _ outputs: [Float], _ count: Int, thresholds: [Float]
  ) -> [Prediction] {
    let width = outputs.count / max(count, 1)
    let head = Head(
      pooling: .mean, labels: set.labels, thresholds: thresholds, offset: set.offset, scale: set.scale)
    return Matrix(rows: count, columns: width, values: outputs).withView {
      Prediction.all(kind: set.kind, head: head, outputs: $0)
    }
  }

  /// Pairs in groups of the batch's size, as training sees them.
  private func retrieval(_ epoch: Int, _ trainingLoss: Double) -> TrainingMetrics {
    let texts = rows.map { set.rows[$0].texts.count }
    let width = outputs.count / max(texts.reduce(0, +), 1)
    let arena = Arena()
    var (loss, hits, at) = (0.0, 0, 0)
    for first in stride(from: 0, to: rows.count, by: settings.batchSize) {
      let group = Array(texts[first..<min(first + settings.batchSize, rows.count)])
      let count = group.reduce(0, +) * width
      let outcome = Contrastive.run(
        Array(outputs[at..<at + count]), width: width, texts: group, temperature: settings.temperature,
        arena: arena)
      at += count
      loss += outcome.loss * Double(group.count)
      hits += outcome.hits
    }
    return TrainingMetrics(
      epoch: epoch, trainingLoss: trainingLoss, rows: rows.count, validationLoss: loss / Double(rows.count),
      accuracy: Double(hits) / Double(rows.count))
  }
}

extension TrainingSet.Row {
  fileprivate var labels: [Int] {
    if case .labels(let labels) = target { labels } else { [] }
  }
}

extension Prediction {
  /// Per label; empty for regression and embedding.
  var scores: [Float] {
    switch self {
    case .classification(let scores), .multilabel(let scores, _): scores
    case .regression, .embedding: []
    }
  }
}

/// Chooses each label's threshold: the one with the best F1 on the validation rows, half-way between two neighbouring
/// scores; 0.5 for a label that no row carries or every row does.
enum Thresholds {
  static func choose(scores: [[Float]], truths: [[Int]], labels: Int) -> [Float] {
    let sets = truths.map(Set.init)
    return (0..<labels).map { label in
      let pairs = scores.indices
        .map { (score: scores[$0][label], isSet: sets[$0].contains(label)) }
        .sorted { ($0.score, $0.isSet ? 1 : 0) > ($1.score, $1.isSet ? 1 : 0) }
      let positives = pairs.reduce(0) { $0 + ($1.isSet ? 1 : 0) }
      guard positives > 0, positives < pairs.count else { return 0.5 }
      var (best, threshold, hits) = (0.0, Float(0.5), 0)
      for (index, pair) in pairs.enumerated() {
        hits += pair.isSet ? 1 : 0
        let next = index + 1 < pairs.count ? pairs[index + 1].score : 0
        guard next < pair.score else { continue }
        let f1 = 2 * Double(hits) / Double(index + 1 + positives)
        if f1 > best { (best, threshold) = (f1, (pair.score + next) / 2) }
      }
      return threshold
    }
  }
}
