/// How many prompt tokens a step may take while streams run: so many that the step lasts no more than `stretch` times a
/// usual one. It follows the steps that have run, one after the other; it decides speed and never a result.
public struct StepPace: Sendable {
  /// A mixed step against a step without prompt tokens. The promise is 4; what is left is for a prompt's tokens growing
  /// dearer with their place, and for the machine's noise.
  static let stretch = 2.5
  /// Of the newest step in the average.
  static let weight = 0.25
  /// Before anything is known: a prompt's token costs about what a stream's does, so even a stream alone waits three
  /// times as long at most. From there the tokens double at most.
  static let firstTokens = 2

  private let chunkTokens: Int
  /// Seconds of a step that only extends streams.
  private var usual: Double?
  /// Prompt tokens of the next step that has streams too.
  private var tokens: Int

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
    guard seconds > 0, streams > 0 else { return }
    if promptTokens == 0 {
      usual = usual.map { $0 + Self.weight * (seconds - $0) } ?? seconds
      tokens = min(Self.firstTokens, chunkTokens)
    } else if let usual {
      follow(promptTokens, seconds, usual)
    }
  }

  /// A part of what prompt tokens cost is the same for one and for many (a long prompt's keys are read once a step), so the
  /// next step is never told from the cost of a token alone: it goes up while there is room, by one at least, and down
  /// by half at most, so that one slow moment of the machine is made up for soon.
  private mutating func follow(_ taken: Int, _ seconds: Double, _ usual: Double) {
    let limit = Self.stretch * usual
    let fitting = Double(taken) * (limit - usual) / max(seconds - usual, 0.01 * seconds)
    if seconds > limit {
      tokens = max(1, taken / 2, Int(min(fitting, Double(taken))))
    } else if taken >= tokens {
      // A step cut short by a prompt's end says little about a longer one.
      tokens = min(chunkTokens, 2 * taken, max(taken + 1, Int(min(fitting, Double(chunkTokens)))))
    }
  }

  /// Prompt tokens for the next step, 1 through the chunk.
  public func promptTokens(streams: Int) -> Int {
    streams > 0 && usual != nil ? tokens : streams > 0 ? min(Self.firstTokens, chunkTokens) : chunkTokens
  }
}
