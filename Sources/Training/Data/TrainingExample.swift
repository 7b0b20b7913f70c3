public import Adapters

/// One labelled row, as over HTTP.
public enum TrainingExample: Sendable, Equatable, Codable {
  case classification(text: String, pair: String? = nil, label: String, weight: Float = 1)
  case multilabel(text: String, pair: String? = nil, labels: [String], weight: Float = 1)
  case regression(text: String, pair: String? = nil, value: Float, weight: Float = 1)
  case embedding(anchor: String, positive: String, negative: String? = nil)
  /// Generation; the prompt may be empty.
  case completion(prompt: String, completion: String, weight: Float = 1)
  /// Generation: every turn of the assistant is to be written.
  case conversation(messages: [ConversationMessage], weight: Float = 1)

  public var kind: TaskKind {
    switch self {
    case .classification: .classification
    case .multilabel: .multilabel
    case .regression: .regression
    case .embedding: .embedding
    case .completion, .conversation: .generation
    }
  }
}

extension TrainingExample {
  /// What an answer is asked of: the text with its second segment, the anchor or the prompt.
  public var texts: (text: String, pair: String?) {
    switch self {
    case .classification(let text, let pair, _, _), .multilabel(let text, let pair, _, _),
      .regression(let text, let pair, _, _):
      (text, pair)
    case .embedding(let anchor, _, _): (anchor, nil)
    case .completion(let prompt, _, _): (prompt, nil)
    case .conversation(let messages, _): (messages.first?.content ?? "", nil)
    }
  }
}

/// A label keyed by its bytes: `String ==` would merge canonical equivalents.
struct LabelKey: Hashable, Comparable {
  let bytes: [UInt8]

  init(_ label: String) { bytes = Array(label.utf8) }

  static func < (a: LabelKey, b: LabelKey) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}
