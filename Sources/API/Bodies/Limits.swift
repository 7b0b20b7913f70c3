/// Every bound on what a request may hold; each has a test one past it.
enum Limits {
  /// Inputs or items of one inference.
  static let inputs = 1...2_048
  /// The magnitude of a value or a weight: sums of many stay finite.
  static let rowNumber: Float = 1e30
  /// UTF-8 bytes of one text.
  static let textBytes = 1 << 20
  static let topK = 1...10_000
  static let version = 1...999_999_999
  static let page = 1...1_000
  static let pageDefault = 100
  /// UTF-8 bytes of a cursor, an id or an idempotency key.
  static let tokenBytes = 256
  /// Rows in the body of a training request; more belong in a data set.
  static let examples = 1...100_000
  static let labelBytes = 256
  /// Labels of one row.
  static let labels = 1_000
  static let subspaceRank = 1...4_096
  static let checkpoints = 64
  static let versions = 256
  /// Bytes of a body that holds names and numbers alone.
  static let smallBodyBytes = 256 << 10
  /// Bytes of one row of a data set.
  static let rowBytes = 4 << 20
  /// Columns of a CSV file.
  static let columns = 16
  /// Rows handed to the store at once.
  static let rowBatch = 512
  /// Bytes of a batch of rows, roughly.
  static let rowBatchBytes = 1 << 20
  /// Models of one list.
  static let models = 1...10_000
  /// Files, jobs or events of one list of OpenAI's.
  static let openAIPage = 1...10_000
  static let openAIPageDefault = 20
  /// UTF-8 bytes of a form field that is no file.
  static let formFieldBytes = 256
  static let epochs = 1...1_000
  static let batchSize = 1...4_096
  /// On a method's default rates.
  static let rateMultiplier = 0.001...100.0
  /// Prompts of one completion request.
  static let prompts = 1...64
  /// Tokens of a prompt given as ids.
  static let promptTokens = 1...1_000_000
  static let tokenID = 0...999_999_999
  static let messages = 1...4_096
  /// Parts of one message's content.
  static let contentParts = 1...256
  static let tools = 1...128
  static let toolCalls = 1...128
  /// Tokens written at most.
  static let maxTokens = 1...1_000_000
  static let stops = 0...16
  /// UTF-8 bytes of one stop text.
  static let stopBytes = 256
  /// Every number here is a whole one in a double.
  static let seed = -9_007_199_254_740_991...9_007_199_254_740_991
  static let logitBiases = 1_024
  static let chatLogProbabilities = 0...20
  static let logProbabilities = 0...5
  static let samplingTopK = 1...1_000_000
  /// Refused fields listed in one answer.
  static let fieldErrors = 64
}

/// Names of tasks, data sets, subspaces and checkpoints.
enum Names {
  static let pattern = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
  /// The bare base's name as a task.
  static let base = "base"

  static func isValid(_ name: String) -> Bool {
    guard let first = name.utf8.first, isLetterOrDigit(first), name.utf8.count <= 128 else { return false }
    return name.utf8.allSatisfy { isLetterOrDigit($0) || "._-".utf8.contains($0) }
  }

  static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || (byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z"))
  }

  /// `task@3`.
  static func version(_ text: String) -> (task: String, version: Int)? {
    guard let at = text.lastIndex(of: "@") else { return nil }
    let digits = text[text.index(after: at)...]
    guard digits.utf8.count <= 9, digits.utf8.first != UInt8(ascii: "0"), digits.utf8.allSatisfy(isDigit),
      let version = Int(digits), isValid(String(text[..<at]))
    else { return nil }
    return (String(text[..<at]), version)
  }
}
