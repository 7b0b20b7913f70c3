internal import Adapters
internal import Serving
internal import Training

/// Rows of training data, the same from a body, a line of NDJSON and a record of CSV.
struct ExampleDecoder: Sendable {
  let kind: TaskKind

  /// Fields that a row must have, and those it may have.
  var fields: (required: [String], optional: [String]) {
    switch kind {
    case .classification: (["text", "label"], ["text_pair", "weight"])
    case .multilabel: (["text", "labels"], ["text_pair", "weight"])
    case .regression: (["text", "value"], ["text_pair", "weight"])
    case .embedding: (["anchor", "positive"], ["negative"])
    }
  }

  /// The kind whose fields the first row has.
  static func kind(of row: JSONValue?) -> TaskKind {
    guard let row else { return .classification }
    if row["anchor"] != nil || row["positive"] != nil { return .embedding }
    if row["labels"] != nil { return .multilabel }
    return row["value"] != nil ? .regression : .classification
  }

  /// nil where something is wrong; what, is in the collector.
  func example(_ value: JSONValue, pointer: String, _ errors: FieldCollector) -> TrainingExample? {
    let before = errors.errors.count
    let allowed = fields.required + fields.optional
    guard let row = ObjectDecoder(value, pointer: pointer, allowed: allowed, errors: errors) else {
      return nil
    }
    let example = kind == .embedding ? pair(row) : text(row)
    return errors.errors.count == before ? example : nil
  }

  private func pair(_ row: ObjectDecoder) -> TrainingExample? {
    let anchor = row.text("anchor")
    let positive = row.text("positive")
    let negative = row.text("negative", isRequired: false)
    guard let anchor, let positive else { return nil }
    return .embedding(anchor: anchor, positive: positive, negative: negative)
  }

  private func text(_ row: ObjectDecoder) -> TrainingExample? {
    let text = row.text("text")
    let pair = row.text("text_pair", isRequired: false)
    let weight = row.float("weight", magnitude: Limits.rowNumber) ?? 1
    if weight <= 0 { row.errors.add(row.pointer("weight"), "must be above 0") }
    switch kind {
    case .classification:
      let label = row.text("label", limitBytes: Limits.labelBytes)
      guard let text, let label else { return nil }
      return .classification(text: text, pair: pair, label: label, weight: weight)
    case .multilabel:
      _ = row.required("labels")
      let labels = (row.array("labels", count: 0...Limits.labels) ?? []).enumerated().compactMap {
        label($1, pointer: row.pointer("labels") + "/\($0)", row.errors)
      }
      if Set(labels.map { Array($0.utf8) }).count < labels.count {
        row.errors.add(row.pointer("labels"), "holds a label twice")
      }
      guard let text else { return nil }
      return .multilabel(text: text, pair: pair, labels: labels, weight: weight)
    case .regression:
      _ = row.required("value")
      guard let text, let value = row.float("value", magnitude: Limits.rowNumber) else { return nil }
      return .regression(text: text, pair: pair, value: value, weight: weight)
    case .embedding: return nil
    }
  }

  private func label(_ value: JSONValue, pointer: String, _ errors: FieldCollector) -> String? {
    guard case .string(let label) = value else {
      errors.add(pointer, "is \(value.typeName), must be a string")
      return nil
    }
    return ObjectDecoder.checked(label, pointer, errors, limitBytes: Limits.labelBytes) ? label : nil
  }
}
