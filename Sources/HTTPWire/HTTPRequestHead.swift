/// A request's head: validated once, decoded on demand.
public struct HTTPRequestHead: Sendable {
  public let method: HTTPMethod
  /// 0 for HTTP/1.0; 1 for HTTP/1.1 and any later HTTP/1.x (RFC 9110 §2.5).
  public let minorVersion: Int
  public let fields: HTTPFields
  /// What frames the body.
  public let framing: BodyFraming
  /// Whether the client wants the connection kept (RFC 9112 §9.3).
  public let isKeepAlive: Bool
  /// Whether the client waits for `100 Continue` before it sends the body.
  public let expectsContinue: Bool

  /// The whole head of a parsed request; the target alone of one made by hand.
  private let source: [UInt8]
  private let targetRange: Range<Int>
  private let pathRange: Range<Int>
  private let queryRange: Range<Int>
  private let authorityRange: Range<Int>?

  public enum BodyFraming: Sendable, Equatable {
    case length(Int)
    case chunked
  }

  /// A head made by hand, for tests and in-memory calls; checked as one from a socket is.
  public init(
    method: HTTPMethod, target: String, fields: HTTPFields = HTTPFields(), minorVersion: Int = 1
  ) throws(WireError) {
    var all = fields
    if minorVersion == 1, !all.contains("host") { all.append("Host", "localhost") }
    let bytes = Array(target.utf8)
    for (index, byte) in bytes.enumerated()
    where !ByteClass.target.contains(byte) && byte != UInt8(ascii: "%") {
      throw .malformed(.target, offset: index)
    }
    try self.init(
      method: method, source: bytes, target: 0..<bytes.count, fields: all, minorVersion: minorVersion)
  }

  init(
    method: HTTPMethod, source: [UInt8], target: Range<Int>, fields: HTTPFields, minorVersion: Int
  ) throws(WireError) {
    let form = try RequestTarget(source, target, method: method)
    self.method = method
    self.minorVersion = minorVersion
    self.fields = fields
    self.source = source
    targetRange = target
    pathRange = form.path
    queryRange = form.query
    authorityRange = form.authority
    let rules = try FieldRules(fields, minorVersion: minorVersion)
    framing = rules.framing
    isKeepAlive = rules.isKeepAlive
    expectsContinue = rules.expectsContinue
  }

  /// The target as it was sent.
  public var target: String { String(decoding: source[targetRange], as: UTF8.self) }

  /// The path as it was sent, escapes included: `/` at least, or `*`.
  public var rawPath: String {
    pathRange.isEmpty ? "/" : String(decoding: source[pathRange], as: UTF8.self)
  }

  /// Whether anything stands behind a question mark.
  public var hasQuery: Bool { !queryRange.isEmpty }

  /// The query as it was sent, without its question mark.
  public var rawQuery: String { String(decoding: source[queryRange], as: UTF8.self) }

  /// The path's segments, each percent-decoded after the split: `/a%2Fb/` is `["a/b", ""]`, `/` is `[]`.
  public var segments: [String] {
    let path = source[pathRange].dropFirst()
    guard !path.isEmpty else { return [] }
    var segments: [String] = []
    segments.reserveCapacity(4)
    var rest = path
    while let slash = rest.firstIndex(of: UInt8(ascii: "/")) {
      segments.append(RequestTarget.decoded(rest[..<slash], plusIsSpace: false))
      rest = rest[(slash + 1)...]
    }
    segments.append(RequestTarget.decoded(rest, plusIsSpace: false))
    return segments
  }

  /// Name and value of each query item, percent-decoded, `+` read as a space; no `=` gives an empty value.
  public var query: [(name: String, value: String)] {
    source[queryRange].split(separator: UInt8(ascii: "&")).map { item in
      let equals = item.firstIndex(of: UInt8(ascii: "=")) ?? item.endIndex
      return (
        RequestTarget.decoded(item[..<equals], plusIsSpace: true),
        RequestTarget.decoded(item[equals...].dropFirst(), plusIsSpace: true)
      )
    }
  }

  /// Host and port: an absolute target's, else the Host field's.
  public var host: String? {
    if let authorityRange { return String(decoding: source[authorityRange], as: UTF8.self) }
    return fields.single("host")
  }

  /// Content-Length, 0 without a body, nil for a chunked one.
  public var contentLength: Int? {
    if case .length(let count) = framing { count } else { nil }
  }

  public var isChunked: Bool { framing == .chunked }
}
