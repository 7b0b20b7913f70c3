/// Bounds of the steps of token generation over one cache of keys and values.
public struct StepLimits: Sendable, Equatable {
  /// Requests that run at once.
  public let rows: Int
  /// Tokens of prompts in a step in which no answer waits for its next token.
  public let chunkTokens: Int
  /// Pages that the cache may have.
  public let pages: Int
  /// Tokens of a page.
  public let pageTokens: Int

  public init(rows: Int, chunkTokens: Int, pages: Int, pageTokens: Int) {
    precondition(rows > 0 && chunkTokens > 0 && pages >= 0 && pageTokens > 0, "step limits are positive")
    self.rows = rows
    self.chunkTokens = chunkTokens
    self.pages = pages
    self.pageTokens = pageTokens
  }

  /// Pages that so many tokens take.
  public func pages(for tokens: Int) -> Int { (tokens + pageTokens - 1) / pageTokens }
}

/// The start of a waiting request's tokens that the cache holds already.
public struct StepReuse: Sendable, Equatable {
  /// Whole pages of them, fewer than the request has.
  public let tokens: Int
  /// Of their pages, those that counted as free until now.
  public let freePages: Int

  public init(tokens: Int, freePages: Int) {
    self.tokens = tokens
    self.freePages = freePages
  }

  public static let none = StepReuse(tokens: 0, freePages: 0)
}

/// What one step computes.
public struct StepPlan<ID: Hashable & Sendable>: Sendable {
  /// A request that starts, or starts again.
  public struct Admission: Sendable, Equatable {
    public let id: ID
    /// Tokens that the cache holds already.
    public let reusedTokens: Int
  }

  /// Tokens of one request that stand next to each other.
  public struct Piece: Sendable, Equatable {
    public let id: ID
    /// Places of the tokens among the request's.
    public let tokens: Range<Int>
    /// It reaches the last token that is known, so its scores choose the next one.
    public let givesToken: Bool
  }

  public let admissions: [Admission]
  /// One a request.
  public let pieces: [Piece]
  /// Tokens of the pieces that are parts of prompts.
  public let promptTokens: Int
  /// The planner's revision that it was made for.
  let revision: UInt64

  /// Requests that wait for one token alone: running streams.
  public var streams: Int { pieces.count { $0.givesToken && $0.tokens.count == 1 } }
}

/// What is to be done next.
public enum StepDecision<ID: Hashable & Sendable>: Sendable {
  case step(StepPlan<ID>)
  /// The cache has too few pages for the step: this request gives its own back and is computed again later.
  case preempt(ID)
  /// Nothing runs and nothing can start.
  case idle
}
