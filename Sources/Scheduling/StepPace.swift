/// How many prompt tokens a step may take while streams run: so many that the step lasts no more than `stretch` times a
/// usual one. It follows the steps that have run, one after the other; it decides speed and never a result.
public struct StepPace: Sendable {
  /// A mixed step against a step without prompt tokens, at most. The promise is 4; what is left is for the machine's noise.
  static let stretch = 2.25
  /// Of `stretch`: a step that lasts between the two leaves the tokens as they are.
  static let least = 0.92
  /// Beyond `stretch` by as much, tokens are halved; before, and on the way up, so much of them is taken or added.
  static let far = 1.3
  static let change = 8
  /// Of the newest step in an average.
  static let weight = 0.25
  /// A prompt's first step beside streams. A token costs about what a stream's does at most, so even a stream alone
  /// waits three times as long. From there the tokens double at most.
  static let firstTokens = 2

  private let chunkTokens: Int
  /// Seconds of a step that only extends so many streams.
  private var usual: [Int: Double] = [:]
  /// Seconds of a prompt's token in steps without streams.
  private var perToken: Double?
  /// Prompt tokens of the next step that has as many streams as the last mixed one.
  private var tokens: Int
  private var streams = 0
  /// The last step had streams and prompt tokens.
  private var isMixed = false

  /// - Parameter chunkTokens: the bound where no stream runs.
  public init(chunkTokens: Int) {
    self.chunkTokens = chunkTokens
    tokens = min(Self.firstTokens, chunkTokens)
  }

  /// A step took `seconds`.
  /// - Parameters:
  ///   - streams: requests that took one token.
  ///   - promptTokens: tokens of prompts beside them.
  public mutating func record(streams: Int, promptTokens: Int, seconds: Double) {
    guard seconds > 0, streams > 0 || promptTokens > 0 else { return }
    if streams == 0 {
      perToken = Self.average(perToken, seconds / Double(promptTokens))
    } else if promptTokens == 0 {
      usual[streams] = Self.average(usual[streams], seconds)
      // The next prompt may begin at a later place than this one did.
      if isMixed { tokens = max(min(Self.firstTokens, chunkTokens), tokens / 2) }
    } else if let usual = usual[streams] {
      follow(promptTokens, of: self.promptTokens(streams: streams), seconds, usual)
      self.streams = streams
    } else {
      let rows = Double(streams + promptTokens)
      usual[streams] = max(
        seconds * Double(streams) / rows, seconds - Double(promptTokens) * (perToken ?? 0))
    }
    isMixed = streams > 0 && promptTokens > 0
  }

  private static func average(_ old: Double?, _ new: Double) -> Double {
    old.map { $0 + weight * (new - $0) } ?? new
  }

  /// A part of what prompt tokens cost is the same for one and for many (a long prompt's keys are read once a step), so the
  /// next step is never told from the cost of a token: it goes up and down by a part of itself, by half or to the double where
  /// it is far from what fits, so that neither one slow moment of the machine nor a fast one counts for much.
  private mutating func follow(_ taken: Int, of allowed: Int, _ seconds: Double, _ usual: Double) {
    let limit = Self.stretch * usual
    let part = max(1, taken / Self.change)
    if seconds > limit {
      tokens = max(1, seconds > Self.far * limit ? taken / 2 : taken - part)
    } else if taken >= allowed, seconds < Self.least * limit {
      tokens = min(chunkTokens, 2 * (seconds - usual) < limit - usual ? 2 * taken : taken + part)
    } else {
      // A step cut short by a prompt's end says little about a longer one.
      tokens = allowed
    }
  }

  /// Prompt tokens for the next step, 1 through the chunk.
  public func promptTokens(streams: Int) -> Int {
    guard streams > 0 else { return chunkTokens }
    // The next step shows what so many streams take.
    guard let usual = usual[streams] else { return 1 }
    guard let last = self.usual[self.streams], last > usual else { return tokens }
    return max(1, Int(Double(tokens) * usual / last))
  }
}
