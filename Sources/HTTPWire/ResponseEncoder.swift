/// Answers as bytes (RFC 9112): head and body in one buffer, so that they leave in one write.
public enum ResponseEncoder {
  /// What follows the encoded bytes.
  public enum Continuation: Sendable, Equatable {
    /// Nothing: the answer is complete.
    case complete
    /// The stream's pieces by `chunk`, then `lastChunk`.
    case chunked
    /// The stream's pieces as they are, then the end of the connection.
    case untilClose
  }

  public static let interimContinue = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
  public static let lastChunk = Array("0\r\n\r\n".utf8)

  /// Appends the answer's head, and its body unless that is a stream.
  ///
  /// - Parameters:
  ///   - head: the request's; nil for an answer to a message that never became one.
  ///   - isKeepAlive: set to false where the answer itself ends the connection.
  ///   - date: IMF-fixdate.
  public static func encode(
    _ response: HTTPResponse, to head: HTTPRequestHead?, isKeepAlive: inout Bool, date: String,
    into output: inout [UInt8]
  ) -> Continuation {
    let isBodyless = response.status == 204 || response.status == 304 || response.status < 200
    let isHead = head?.method == .head
    let minor = head?.minorVersion ?? 1
    var next = Continuation.complete
    var length: Int?
    switch response.body {
    case .empty: length = isBodyless ? nil : 0
    case .bytes(let bytes): length = isBodyless ? nil : bytes.count
    case .stream:
      if !isBodyless, !isHead { next = minor > 0 ? .chunked : .untilClose }
    }
    if next == .untilClose { isKeepAlive = false }

    if case .bytes(let bytes) = response.body { output.reserveCapacity(output.count + bytes.count + 256) }
    if response.status == 200 {
      put("HTTP/1.1 200 OK\r\n", &output)
    } else {
      put("HTTP/1.1 ", &output)
      decimal(response.status, &output)
      output.append(space)
      output.append(contentsOf: reason(response.status).utf8)
      line(&output)
    }
    for (name, value) in response.fields {
      switch name.utf8.count {
      case 4 where same(name, "date"): continue
      case 10 where same(name, "connection"):
        if same(value, "close") { isKeepAlive = false }
        continue
      case 14 where same(name, "content-length"): continue
      case 17 where same(name, "transfer-encoding"): continue
      default: break
      }
      clean(name, &output)
      put(": ", &output)
      clean(value, &output)
      line(&output)
    }
    put("Date: ", &output)
    output.append(contentsOf: date.utf8)
    line(&output)
    if let length {
      put("Content-Length: ", &output)
      decimal(length, &output)
      line(&output)
    } else if next == .chunked || (isHead && minor > 0 && !isBodyless) {
      put("Transfer-Encoding: chunked\r\n", &output)
    }
    if !isKeepAlive {
      put("Connection: close\r\n", &output)
    } else if minor == 0 {
      put("Connection: keep-alive\r\n", &output)
    }
    line(&output)
    if case .bytes(let bytes) = response.body, !isHead, !isBodyless { output.append(contentsOf: bytes) }
    return next
  }

  /// One chunk; nothing for no bytes, which would end the body.
  public static func chunk(_ bytes: [UInt8]) -> [UInt8] {
    guard !bytes.isEmpty else { return [] }
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count + 20)
    output.append(contentsOf: String(bytes.count, radix: 16).utf8)
    line(&output)
    output.append(contentsOf: bytes)
    line(&output)
    return output
  }

  /// Reason phrase of RFC 9110 §15 and RFC 6585, empty for a status without one here.
  public static func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 201: "Created"
    case 202: "Accepted"
    case 204: "No Content"
    case 206: "Partial Content"
    case 301: "Moved Permanently"
    case 303: "See Other"
    case 304: "Not Modified"
    case 307: "Temporary Redirect"
    case 308: "Permanent Redirect"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 406: "Not Acceptable"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 410: "Gone"
    case 411: "Length Required"
    case 412: "Precondition Failed"
    case 413: "Content Too Large"
    case 414: "URI Too Long"
    case 415: "Unsupported Media Type"
    case 416: "Range Not Satisfiable"
    case 417: "Expectation Failed"
    case 422: "Unprocessable Content"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    case 507: "Insufficient Storage"
    default: ""
    }
  }

  private static func line(_ output: inout [UInt8]) { put("\r\n", &output) }

  @inline(__always)
  private static func put(_ text: StaticString, _ output: inout [UInt8]) {
    output.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  private static func decimal(_ value: Int, _ output: inout [UInt8]) {
    if value >= 10 { decimal(value / 10, &output) }
    output.append(0x30 + UInt8(value % 10))
  }

  /// Line breaks and NUL become spaces (RFC 9110 §5.5), so that no value can add a field.
  static func clean(_ text: String, _ output: inout [UInt8]) {
    var text = text
    text.withUTF8 { bytes in
      let start = output.count
      output.append(contentsOf: bytes)
      for index in start..<output.count where isBreak(output[index]) { output[index] = space }
    }
  }

  private static func isBreak(_ byte: UInt8) -> Bool {
    byte == carriageReturn || byte == lineFeed || byte == 0
  }

  private static func same(_ left: String, _ right: String) -> Bool {
    left.utf8.count == right.utf8.count
      && zip(left.utf8, right.utf8).allSatisfy { ByteClass.lowercased($0) == ByteClass.lowercased($1) }
  }
}
