public import Digests

/// What the HTTP surface is told at start.
public struct APIConfiguration: Sendable {
  /// Stands before every path: empty, or `/prefix` without a slash at the end.
  public var basePath = ""
  /// SHA-256 of the static bearer key; nil: no key is asked for.
  public var apiKey: Digest?
  /// Numeric addresses (or `unix`) whose `Forwarded` and `X-Forwarded-For` are believed, for the log.
  public var trustedProxies: Set<String> = []
  /// Bytes of an inference's body.
  public var inferenceBodyBytes = 16 << 20
  /// Bytes of a training request's body; more belongs in a data set.
  public var trainingBodyBytes = 64 << 20
  /// Bytes of an uploaded data set.
  public var datasetBytes = 1 << 30
  /// The longest wait between two writes of an event stream; a comment is sent then.
  public var eventWaitMilliseconds = 10_000

  public init() {}
}
