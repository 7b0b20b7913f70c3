/// What is to be continued.
public enum WritingPrompt: Sendable, Equatable {
  case text(String)
  case tokens([Int32])
  /// The base's chat template makes the text, with an opening for the assistant's turn.
  case conversation(Conversation)
}

/// A conversation as chat templates take it: JSON, checked member by member by whoever made it.
public struct Conversation: Sendable, Equatable {
  /// A JSON array of messages: `role`, `content` (a string or null), and `name`, `tool_calls`, `tool_call_id` where given;
  /// the arguments of a call are a JSON object.
  public let messagesJSON: String
  /// A JSON array of tools, each `{"type": "function", "function": {…}}`; nil for none.
  public let toolsJSON: String?

  public init(messagesJSON: String, toolsJSON: String?) {
    self.messagesJSON = messagesJSON
    self.toolsJSON = toolsJSON
  }
}

/// How the next token is chosen, and when to stop. The defaults change nothing and stop at the model's own end.
public struct WritingOptions: Sendable, Equatable {
  /// A version other than the active one.
  public var version: Int?
  /// Tokens written at most; nil: what the context has room for.
  public var maxTokens: Int?
  /// 0 takes the most probable token.
  public var temperature: Float = 1
  /// The smallest set of tokens with this probability together, 0 through 1.
  public var topP: Float = 1
  /// The most probable tokens that are kept; nil: all.
  public var topK: Int?
  /// Tokens below this share of the most probable one's probability are dropped, 0 through 1.
  public var minP: Float = 0
  /// Logits of tokens seen in prompt or answer are divided (positive) or multiplied by it, above 0.
  public var repetitionPenalty: Float = 1
  /// Taken off the logits of tokens that were written, once, -2 through 2.
  public var presencePenalty: Float = 0
  /// The same for each time that they were written.
  public var frequencyPenalty: Float = 0
  /// Added to logits by token, -100 through 100.
  public var logitBias: [Int32: Float] = [:]
  /// The same seed, request and version give the same text; nil: another text each time.
  public var seed: UInt64?
  /// Texts that end the answer and are not part of it.
  public var stop: [String] = []
  /// Log-probabilities with each token, and of so many of the most probable ones; nil: none.
  public var logProbabilities: Int?

  public init() {}
}

public struct WritingRequest: Sendable, Equatable {
  /// A task, or `base`.
  public let task: String
  public let prompt: WritingPrompt
  public let options: WritingOptions
  /// Where the prompt stands in the request's JSON, for errors (RFC 6901).
  public let pointer: String
  /// The same of the task, or the name of the path's parameter.
  public let taskPointer: String
  /// The same of the object that holds the options; empty for the body itself.
  public let optionsPointer: String

  public init(
    task: String, prompt: WritingPrompt, options: WritingOptions, pointer: String, taskPointer: String,
    optionsPointer: String
  ) {
    self.task = task
    self.prompt = prompt
    self.options = options
    self.pointer = pointer
    self.taskPointer = taskPointer
    self.optionsPointer = optionsPointer
  }
}

/// A token and how probable it was.
public struct TokenProbability: Sendable, Equatable {
  public let id: Int32
  /// Its own bytes; several tokens may make one character.
  public let bytes: [UInt8]
  /// Natural logarithm.
  public let logProbability: Float

  public init(id: Int32, bytes: [UInt8], logProbability: Float) {
    self.id = id
    self.bytes = bytes
    self.logProbability = logProbability
  }
}

/// A token that was written, beside the most probable ones at its place, best first.
public struct WrittenToken: Sendable, Equatable {
  public let chosen: TokenProbability
  public let best: [TokenProbability]

  public init(chosen: TokenProbability, best: [TokenProbability]) {
    self.chosen = chosen
    self.best = best
  }
}

/// Why an answer ended: the model's own end or a stop text; no room left.
public enum FinishReason: String, Sendable, CaseIterable {
  case stop, length
}

public struct WritingUsage: Sendable, Equatable {
  public let promptTokens: Int
  /// Of these, tokens whose keys and values were there already.
  public let cachedTokens: Int
  public let writtenTokens: Int

  public init(promptTokens: Int, cachedTokens: Int = 0, writtenTokens: Int) {
    self.promptTokens = promptTokens
    self.cachedTokens = cachedTokens
    self.writtenTokens = writtenTokens
  }
}

/// One step of an answer.
public enum WrittenPiece: Sendable, Equatable {
  /// Whole characters; the tokens are empty unless log-probabilities were asked for.
  case text(String, tokens: [WrittenToken])
  /// Nothing was written in the time given; the answer goes on.
  case nothing
  /// The last piece.
  case end(FinishReason, WritingUsage)
}

/// An answer on its way. It is written at its own pace, whether or not it is pulled, up to its limit.
public protocol WrittenPieces: Sendable {
  /// The next piece, waited for at most so long. One call at a time, none after `.end` or an error. A task that is
  /// cancelled while it waits gives the answer up, as `cancel` does.
  func next(waitMilliseconds: Int) async throws(ServingError) -> WrittenPiece
  /// Gives the answer up: its row is gone by the next step. Nothing after the end.
  func cancel()
}

/// An answer, and who gives it.
public struct Writing: Sendable {
  public let task: String
  /// nil for the bare base.
  public let version: Int?
  /// The digest of the version's subspace, where it has one.
  public let subspace: String?
  /// Seconds since 1970.
  public let createdAt: Int
  public let pieces: any WrittenPieces

  public init(
    task: String, version: Int?, subspace: String?, createdAt: Int, pieces: any WrittenPieces
  ) {
    self.task = task
    self.version = version
    self.subspace = subspace
    self.createdAt = createdAt
    self.pieces = pieces
  }
}
