internal import Digests
internal import HTTPWire
internal import Serving
internal import Synchronization

/// One request after routing: who asks for what.
struct Call: Sendable {
  let request: HTTPRequest
  let operation: Endpoint
  /// The path's parameters in order.
  let parameters: [String]
  let principal: Principal
  let requestID: String

  var head: HTTPRequestHead { request.head }

  /// The version in the path.
  func version() throws(Problem) -> Int {
    let text = parameters[1]
    guard text.utf8.allSatisfy(isDigit), let version = Int(text), Limits.version.contains(version) else {
      throw Problem(.notFound(.version, id: text))
    }
    return version
  }

  /// The query's items; an unknown name or one given twice is refused.
  func query(_ allowed: [String], _ errors: FieldCollector) -> QueryDecoder {
    QueryDecoder(head.query, allowed: allowed, errors: errors)
  }

  /// Bytes of a body above which reading it leaves the connection's loop.
  static let inlineBytes = 32 << 10

  /// Refuses a head without a length and without chunks, which says that there is no body (RFC 9112 §6.3), for operations
  /// that need one. A body whose length is 0 is there, and is refused for what it lacks.
  func needsBody() throws(Problem) {
    if head.framing == .chunked || head.fields.contains("content-length") { return }
    throw Problem(.lengthRequired, "Content-Length or Transfer-Encoding: chunked is missing.")
  }

  /// The bytes of a body that says that it is JSON.
  @inline(__always)
  func body(limitBytes: Int) async throws(Problem) -> [UInt8] {
    try needsBody()
    guard MediaTypes.ofBody(head) == MediaTypes.json else {
      throw Problem(
        .unsupportedMediaType, "The body must be JSON.", [("supported", .texts([MediaTypes.json]))])
    }
    return try await collect(limitBytes: limitBytes)
  }

  /// What the body's JSON says. Parsing, conversion and the end of the tree between them stay off the loop together.
  func json<Value: Sendable>(
    limitBytes: Int, _ decode: @escaping @Sendable (JSONValue) throws(Problem) -> Value
  ) async throws(Problem) -> Value {
    try await decoded(limitBytes: limitBytes) { bytes throws(Problem) in try decode(try Call.parse(bytes)) }
  }

  /// The same from the bytes themselves.
  @inline(__always)
  func decoded<Value: Sendable>(
    limitBytes: Int, _ decode: @escaping @Sendable ([UInt8]) throws(Problem) -> Value
  ) async throws(Problem) -> Value {
    let bytes = try await body(limitBytes: limitBytes)
    if bytes.count <= Self.inlineBytes { return try decode(bytes) }
    return try await offLoop { () async throws(Problem) in try decode(bytes) }
  }

  /// Refuses a body with anything in it, for operations that need none.
  func noBody() async throws(Problem) {
    let bytes = try await collect(limitBytes: Limits.smallBodyBytes)
    if bytes.isEmpty { return }
    let errors = FieldCollector()
    _ = ObjectDecoder(try Call.parse(bytes), pointer: "", allowed: [], errors: errors)
    try errors.check()
  }

  @inline(__always)
  private func collect(limitBytes: Int) async throws(Problem) -> [UInt8] {
    do throws(WireError) {
      // Where it came with its head there is nothing to wait for.
      if let bytes = try request.body.taken(limitBytes: limitBytes) { return bytes }
      return try await request.body.collect(limitBytes: limitBytes)
    } catch {
      throw Problem(error)
    }
  }

  static func parse(_ bytes: [UInt8]) throws(Problem) -> JSONValue {
    do throws(JSONError) {
      return try JSONReader.read(bytes)
    } catch {
      throw Problem(error)
    }
  }

  /// X-Request-Timeout in milliseconds; the node bounds it.
  func timeoutMilliseconds() throws(Problem) -> Int? {
    guard head.fields.contains("x-request-timeout") else { return nil }
    let text = head.fields.single("x-request-timeout") ?? ""
    let isNumber = !text.isEmpty && text.utf8.count < 16 && text.utf8.allSatisfy(isDigit)
    guard isNumber, let milliseconds = Int(text), milliseconds > 0 else {
      throw Problem(
        .validation([
          FieldError("X-Request-Timeout", "must be a number of milliseconds", allowed: "1 or more")
        ]))
    }
    return milliseconds
  }
}

func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

/// X-Request-Id: the client's own where it is short and plain, else one of ours.
enum RequestID {
  static let longest = 128

  static func of(_ head: HTTPRequestHead) -> String {
    if let given = head.fields.single("x-request-id"), isValid(given) { return given }
    return make()
  }

  /// A random half for the process, and a counter's half: unique, and no call of the system for each request.
  static func make() -> String {
    let count = next.wrappingAdd(1, ordering: .relaxed).newValue
    return String(unsafeUninitializedCapacity: 2 * process.count) { text in
      _ = text.initialize(fromContentsOf: process)
      for place in 0..<16 {
        let digit = UInt8(truncatingIfNeeded: count >> (60 - 4 * place)) & 15
        text.initializeElement(
          at: process.count + place, to: digit + (digit < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10))
      }
      return 2 * process.count
    }
  }

  private static let process = Array(Digest.hex(RandomBytes.make(count: 8)).utf8)
  private static let next = Atomic<UInt64>(0)

  static func isValid(_ id: String) -> Bool {
    guard !id.isEmpty, id.utf8.count <= longest else { return false }
    return id.utf8.allSatisfy { Names.isLetterOrDigit($0) || "._-:+/=@".utf8.contains($0) }
  }
}
