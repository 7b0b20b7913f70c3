public import HTTPWire

/// Why a request got no answer. An answer with an error status is an answer.
public enum ClientError: Error, Equatable, Sendable {
  /// Not `http://host[:port][/base]`, `https://…` or `unix:/path`.
  case invalidURL(String)
  case unresolvedHost(String)
  /// Nobody answers there; `code` is the errno.
  case unreachable(String, code: Int32)
  /// The deadline passed.
  case timeout
  /// The connection broke; `code` is the errno, 0 for an early end.
  case connectionLost(code: Int32)
  /// The certificate was not accepted, or no common TLS version.
  case tls(reason: String)
  /// The answer is not HTTP.
  case malformedAnswer(WireError)
  /// The event stream was refused.
  case refusedStream(status: Int, body: [UInt8])
}
