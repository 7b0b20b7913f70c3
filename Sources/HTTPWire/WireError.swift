/// What was wrong with the framing of a message. API gives each case its status and problem body.
public enum WireError: Error, Equatable, Sendable {
  /// 400. `offset` counts bytes from the start of the message (of the body, for chunk framing).
  case malformed(MalformedReason, offset: Int)
  /// 408: the head was not complete in time.
  case headTimeout
  /// 408: the body stopped arriving.
  case bodyTimeout
  /// 413, declared or received.
  case bodyTooLarge(limitBytes: Int)
  /// 414.
  case targetTooLong(limitBytes: Int)
  /// 417.
  case expectationFailed
  /// 431: the head (or a chunked body's trailers) has too many bytes.
  case headTooLarge(limitBytes: Int)
  /// 431: too many field lines.
  case tooManyFields(limit: Int)
  /// 501: a transfer coding other than `chunked`, the CONNECT method, or a method of absurd length.
  case notImplemented(NotImplementedReason, offset: Int)
  /// 503: the server holds as many connections as it may.
  case tooManyConnections(limit: Int)
  /// 505.
  case unsupportedVersion(offset: Int)
  /// The peer went away; nobody reads an answer.
  case peerGone

  /// Where in the message the fault is, when it is at a place.
  public var offset: Int? {
    switch self {
    case .malformed(_, let offset), .notImplemented(_, let offset), .unsupportedVersion(let offset): offset
    default: nil
    }
  }
}

/// Why a message is refused with 400.
public enum MalformedReason: String, Sendable {
  case bareLineFeed = "bare line feed"
  case bareCarriageReturn = "bare carriage return"
  case method = "method is not a token"
  case target = "invalid request target"
  case targetEscape = "invalid percent escape"
  case targetEncoding = "request target is not UTF-8 once decoded"
  case version = "malformed HTTP version"
  case status = "malformed status line"
  case foldedField = "folded field line"
  case fieldName = "field name is not a token"
  case fieldValue = "invalid character in a field value"
  case missingHost = "no Host field"
  case repeatedHost = "more than one Host field"
  case host = "invalid Host field"
  case contentLength = "invalid Content-Length"
  case conflictingContentLength = "Content-Length fields differ"
  case bothLengths = "both Content-Length and Transfer-Encoding"
  case transferEncoding = "invalid Transfer-Encoding"
  case chunkSize = "invalid chunk size"
  case chunkExtension = "invalid chunk extension"
  case chunkEnd = "chunk data is not followed by CRLF"
  case truncatedBody = "connection closed before the end of the body"
  case eventStream = "malformed event stream"
  case missingDelimiter = "no part begins"
  case partDelimiter = "something follows a part's delimiter"
  case partHeadTooLarge = "the head of a part is too large"
  case partDisposition = "a part has no Content-Disposition that names its field"
  case tooManyParts = "too many parts"
  case truncatedParts = "the last part's delimiter is missing"
}

/// Why a message is refused with 501.
public enum NotImplementedReason: String, Sendable {
  case transferCoding = "unknown transfer coding"
  case method = "method not implemented"
}
