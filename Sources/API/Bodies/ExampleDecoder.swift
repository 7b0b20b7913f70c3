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
    case .generation: (["prompt", "completion"], ["weight"])
    }
  }

  /// The kind whose fields the first row has.
  static func kind(of row: JSONValue?) -> TaskKind {
    guard let row else { return .classification }
    if row["anchor"] != nil || row["positive"] != nil { return .embedding }
    if ["prompt", "completion", "messages"].contains(where: { row[$0] != nil }) { return .generation }
    if row["labels"] != nil { return .multilabel }
    return row["value"] != nil ? .regression : .classification
  }

  /// nil where something is wrong; what, is in the collector.
  func example(_ value: JSONValue, pointer: String, _ errors: FieldCollector) -> TrainingExample? {
    let before = errors.errors.count
    // A writer's row is a pair of texts or a conversation.
    let isConversation = kind == .generation && value["messages"] != nil
    let allowed = isConversation ? ["messages", "weight"] : fields.required + fields.optional
    guard let row = ObjectDecoder(value, pointer: pointer, allowed: allowed, errors: errors) else {
      return nil
    }
    let example =
      switch kind {
      case .embedding: pair(row)
      case .generation: isConversation ? conversation(row) : completion(row)
      case .classification, .multilabel, .regression: text(row)
      }
    return errors.errors.count == before ? example : nil
  }

  private func pair(_ row: ObjectDecoder) -> TrainingExample? {
    let anchor = row.text("anchor")
    let positive = row.text("positive")
    let negative = row.text("negative", isRequired: false)
    guard let anchor, let positive else { return nil }
    return .embedding(anchor: anchor, positive: positive, negative: negative)
  }

  private func completion(_ row: ObjectDecoder) -> TrainingExample? {
    let prompt = row.required("prompt") == nil ? nil : row.string("prompt")
    let completion = row.text("completion")
    let weight = weight(row)
    guard let prompt, let completion else { return nil }
    // Nothing is a prompt too: the text is learnt from its beginning.
    guard prompt.isEmpty || ObjectDecoder.checked(prompt, row.pointer("prompt"), row.errors) else {
      return nil
    }
    return .completion(prompt: prompt, completion: completion, weight: weight)
  }

  private func conversation(_ row: ObjectDecoder) -> TrainingExample? {
    let weight = weight(row)
    guard let messages = row.array("messages", count: Limits.messages) else { return nil }
    let turns = messages.enumerated().compactMap { index, value in
      message(value, pointer: "\(row.pointer("messages"))/\(index)", row.errors)
    }
    if turns.count == messages.count, !turns.contains(where: { $0.role == .assistant }) {
      row.errors.add(row.pointer("messages"), "has no turn of the assistant")
    }
    return .conversation(messages: turns, weight: weight)
  }

  private func message(
    _ value: JSONValue, pointer: String, _ errors: FieldCollector
  ) -> ConversationMessage? {
    guard
      let message = ObjectDecoder(value, pointer: pointer, allowed: ["role", "content"], errors: errors)
    else { return nil }
    _ = message.required("role")
    let role = message.choice("role", ConversationMessage.Role.self)
    let content = message.text("content")
    guard let role, let content else { return nil }
    return ConversationMessage(role: role, content: content)
  }

  private func weight(_ row: ObjectDecoder) -> Float {
    let weight = row.float("weight", magnitude: Limits.rowNumber) ?? 1
    if weight <= 0 { row.errors.add(row.pointer("weight"), "must be above 0") }
    return weight
  }

  private func text(_ row: ObjectDecoder) -> TrainingExample? {
    let text = row.text("text")
    let pair = row.text("text_pair", isRequired: false)
    let weight = weight(row)
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
    case .embedding, .generation: return nil
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
