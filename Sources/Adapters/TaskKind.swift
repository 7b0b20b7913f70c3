/// What a task predicts. The raw value is the name used over HTTP and in files.
public enum TaskKind: String, Sendable, CaseIterable, Codable {
  /// One label out of several.
  case classification
  /// Any number of labels, each with its own threshold.
  case multilabel
  /// One number.
  case regression
  /// One vector per text.
  case embedding
  /// A text that goes on from another; on a decoder.
  case generation
}

/// How the hidden rows of one sequence become one vector.
public enum Pooling: String, Sendable, CaseIterable, Codable {
  /// The first token's row.
  case cls
  /// The mean over all of the sequence's tokens, special ones included.
  case mean
  /// The last token's row.
  case last
}

/// What stands between a head's dense and linear layers.
public enum HeadActivation: String, Sendable, CaseIterable, Codable {
  case tanh, relu, gelu
}
