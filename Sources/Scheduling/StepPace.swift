/// How many prompt tokens a step may take while streams run: so many that the step lasts no more than `stretch` times a
/// usual one. Learnt from the steps that have run; it decides speed and never a result.
public struct StepPace: Sendable {
  /// A mixed step against a step without prompt tokens. The promise is 4; what is left is for a prompt's tokens growing
  /// dearer with their place, and for the machine's noise.
  static let stretch = 2.5
  /// Of the newest step in the averages.
  static let weight = 0.25
  /// Before anything is known: a prompt's token costs about what a stream's does, so even a stream alone waits three
  /// times as long at most. From there the tokens double step by step.
  static let firstTokens = 2

  private let chunkTokens: Int
  /// Seconds of a step that only extends streams.
  private var usual: Double?
  /// Seconds that one more prompt token adds.
  private var perToken: Double?
  /// Prompt tokens of the last step that had streams too: few tokens can look free, so the next step takes at most
  /// twice as many.
  private var last = 0

  /// - Parameter chunkTokens: the bound where no stream runs.
  public init(chunkTokens: Int) { self.chunkTokens = chunkTokens }

  /// A step took `seconds`.
  /// - Parameters:
  ///   - streams: requests that took one token.
  ///   - promptTokens: tokens of prompts beside them.
  public mutating func record(streams: Int, promptTokens: Int, seconds: Double) {
    guard seconds > 0, streams > 0 || promptTokens > 0 else { return }
    if promptTokens == 0 {
      usual = Self.average(usual, seconds)
      last = 0
    } else if streams == 0 {
      perToken = Self.average(perToken, seconds / Double(promptTokens))
    } else {
      last = promptTokens
      guard let usual else { return }
      perToken = Self.average(perToken, max(seconds - usual, 0.01 * seconds) / Double(promptTokens))
    }
  }

  private static func average(_ old: Double?, _ new: Double) -> Double {
    old.map { $0 + weight * (new - $0) } ?? new
  }

  /// Prompt tokens for the next step, 1 through the chunk.
  public func promptTokens(streams: Int) -> Int {
    guard streams > 0 else { return chunkTokens }
    let most = min(chunkTokens, max(Self.firstTokens, 2 * last))
    guard let usual, let perToken else { return min(Self.firstTokens, chunkTokens) }
    let room = (Self.stretch - 1) * usual / perToken
    return room >= Double(most) ? most : max(1, Int(room))
  }
}
