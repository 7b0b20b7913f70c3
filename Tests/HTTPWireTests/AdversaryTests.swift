import HTTPWire
import Testing

/// Each attack on the framing, with its verdict; whole, byte by byte and cut in two anywhere it is the same.
@Suite struct AdversaryTests {
  struct Attack: Sendable, CustomTestStringConvertible {
    let name: String
    let bytes: String
    let verdict: WireError?
    var testDescription: String { name }

    init(_ name: String, _ bytes: String, _ verdict: WireError?) {
      self.name = name
      self.bytes = bytes
      self.verdict = verdict
    }
  }

  static let host = "Host: a\r\n"
  static let post = "POST / HTTP/1.1\r\nHost: a\r\n"
  static let chunked = post + "Transfer-Encoding: chunked\r\n\r\n"

  static let attacks: [Attack] = [
    Attack(
      "bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n",
      .malformed(.bareLineFeed, offset: 14)),
    Attack("bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", .malformed(.bareLineFeed, offset: 23)),
    Attack(
      "bare LF as the end of the head", "GET / HTTP/1.1\r\nHost: a\r\n\n",
      .malformed(.bareLineFeed, offset: 25)),
    Attack(
      "bare CR in a value", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
      .malformed(.bareCarriageReturn, offset: 23)),
    Attack(
      "bare CR after the version", "GET / HTTP/1.1\rHost: a\r\n\r\n",
      .malformed(.bareCarriageReturn, offset: 14)),
    Attack("folded field", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", .malformed(.foldedField, offset: 25)),
    Attack("folded first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", .malformed(.foldedField, offset: 16)),
    Attack(
      "space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", .malformed(.fieldName, offset: 20)),
    Attack("empty field name", "GET / HTTP/1.1\r\n: a\r\n\r\n", .malformed(.fieldName, offset: 16)),
    Attack("field without a colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", .malformed(.fieldName, offset: 20)),
    Attack("NUL in a value", "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", .malformed(.fieldValue, offset: 23)),
    Attack("NUL in a name", "GET / HTTP/1.1\r\nHo\0st: a\r\n\r\n", .malformed(.fieldName, offset: 18)),
    Attack("DEL in a value", "GET / HTTP/1.1\r\nHost: a\u{7f}\r\n\r\n", .malformed(.fieldValue, offset: 23)),
    Attack(
      "both lengths", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
      .malformed(.bothLengths, offset: 45)),
    Attack(
      "differing lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
      .malformed(.conflictingContentLength, offset: 45)),
    Attack("equal lengths", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", nil),
    Attack("length list", post + "Content-Length: 3, 3\r\n\r\nabc", .malformed(.contentLength, offset: 42)),
    Attack("signed length", post + "Content-Length: +5\r\n\r\nhello", .malformed(.contentLength, offset: 42)),
    Attack("negative length", post + "Content-Length: -5\r\n\r\n", .malformed(.contentLength, offset: 42)),
    Attack("hex length", post + "Content-Length: 0x5\r\n\r\n", .malformed(.contentLength, offset: 42)),
    Attack("empty length", post + "Content-Length: \r\n\r\n", .malformed(.contentLength, offset: 42)),
    Attack(
      "length of 2^63", post + "Content-Length: 9223372036854775808\r\n\r\n",
      .malformed(.contentLength, offset: 42)),
    Attack("no host", "GET / HTTP/1.1\r\n\r\n", .malformed(.missingHost, offset: 0)),
    Attack(
      "two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .malformed(.repeatedHost, offset: 25)),
    Attack("joined hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", .malformed(.host, offset: 22)),
    Attack("host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", .malformed(.host, offset: 22)),
    Attack(
      "two hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
      .malformed(.repeatedHost, offset: 25)),
    Attack("method with a bracket", "GE[T / HTTP/1.1\r\n\r\n", .malformed(.method, offset: 2)),
    Attack("no method", " / HTTP/1.1\r\n\r\n", .malformed(.method, offset: 0)),
    Attack("NUL in the method", "G\0T / HTTP/1.1\r\n\r\n", .malformed(.method, offset: 1)),
    Attack(
      "endless method", String(repeating: "A", count: 40) + " / HTTP/1.1\r\n\r\n",
      .notImplemented(.method, offset: 0)),
    Attack("CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", .notImplemented(.method, offset: 0)),
    Attack("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.version, offset: 7)),
    Attack("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.target, offset: 4)),
    Attack("no version", "GET /\r\n\r\n", .malformed(.target, offset: 5)),
    Attack("control in the target", "GET /\u{1} HTTP/1.1\r\n\r\n", .malformed(.target, offset: 5)),
    Attack("raw UTF-8 in the target", "GET /é HTTP/1.1\r\n\r\n", .malformed(.target, offset: 5)),
    Attack("fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.target, offset: 5)),
    Attack("relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.target, offset: 4)),
    Attack("asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.target, offset: 4)),
    Attack("half an escape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.targetEscape, offset: 5)),
    Attack("wrong escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.targetEscape, offset: 5)),
    Attack("escaped NUL", "GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.targetEscape, offset: 6)),
    Attack(
      "escaped non-UTF-8", "GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.targetEncoding, offset: 4)),
    Attack(
      "overlong slash", "GET /%c0%af HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.targetEncoding, offset: 4)),
    Attack("version 2.0", "GET / HTTP/2.0\r\n" + host + "\r\n", .unsupportedVersion(offset: 6)),
    Attack("version 0.9", "GET / HTTP/0.9\r\n" + host + "\r\n", .unsupportedVersion(offset: 6)),
    Attack("lower-case version", "GET / http/1.1\r\n" + host + "\r\n", .malformed(.version, offset: 6)),
    Attack("version 1.10", "GET / HTTP/1.10\r\n" + host + "\r\n", .malformed(.version, offset: 14)),
    Attack("version 1.2 is read as 1.1", "GET / HTTP/1.2\r\n" + host + "\r\n", nil),
    Attack(
      "trailing space after the version", "GET / HTTP/1.1 \r\n" + host + "\r\n",
      .malformed(.version, offset: 14)),
    Attack(
      "transfer coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
      .malformed(.transferEncoding, offset: 17)),
    Attack(
      "unknown coding", post + "Transfer-Encoding: gzip, chunked\r\n\r\n",
      .notImplemented(.transferCoding, offset: 45)),
    Attack(
      "disguised coding", post + "Transfer-Encoding: xchunked\r\n\r\n",
      .notImplemented(.transferCoding, offset: 45)),
    Attack(
      "coding with a vertical tab", post + "Transfer-Encoding: \u{b}chunked\r\n\r\n",
      .malformed(.fieldValue, offset: 45)),
    Attack(
      "repeated coding", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
      .malformed(.transferEncoding, offset: 54)),
    Attack("empty coding", post + "Transfer-Encoding:\r\n\r\n", .malformed(.transferEncoding, offset: 26)),
    Attack("strange expectation", post + "Expect: cookies\r\n\r\n", .expectationFailed),
    Attack("chunk size with a sign", chunked + "+5\r\nhello\r\n0\r\n\r\n", .malformed(.chunkSize, offset: 0)),
    Attack("chunk size with 0x", chunked + "0x5\r\nhello\r\n0\r\n\r\n", .malformed(.chunkSize, offset: 1)),
    Attack("empty chunk size", chunked + "\r\nhello\r\n", .malformed(.chunkSize, offset: 0)),
    Attack("space after the chunk size", chunked + "5 \r\nhello\r\n", .malformed(.chunkSize, offset: 1)),
    Attack("chunk size of 2^64", chunked + "10000000000000000\r\n", .malformed(.chunkSize, offset: 15)),
    Attack("chunk size with zeros", chunked + "0000000000000001\r\n", .malformed(.chunkSize, offset: 15)),
    Attack("bare LF after the chunk size", chunked + "5\nhello\r\n", .malformed(.chunkSize, offset: 1)),
    Attack("bare LF in an extension", chunked + "5;a\nhello\r\n", .malformed(.bareLineFeed, offset: 3)),
    Attack(
      "bare CR in an extension", chunked + "5;a\rb\r\nhello\r\n", .malformed(.bareCarriageReturn, offset: 3)),
    Attack("chunk longer than its size", chunked + "5\r\nhello!\r\n", .malformed(.chunkEnd, offset: 8)),
    Attack(
      "chunk that ends in a bare LF", chunked + "5\r\nhello\n0\r\n\r\n", .malformed(.chunkEnd, offset: 8)),
    Attack("folded trailer", chunked + "0\r\n a: b\r\n\r\n", .malformed(.foldedField, offset: 3)),
    Attack(
      "two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .malformed(.method, offset: 2)),
    Attack("one empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", nil),
    Attack("TLS hello on a plain port", "\u{16}\u{3}\u{1}", .malformed(.method, offset: 0)),
  ]

  @Test(arguments: attacks)
  func verdict(attack: Attack) {
    let whole = read(attack.bytes)
    #expect(whole.error == attack.verdict)
    #expect(whole.ends == (attack.verdict == nil ? 1 : 0))
    #expect(read(single(attack.bytes)) == whole)
    let bytes = Array(attack.bytes.utf8)
    for cut in 1..<bytes.count {
      #expect(read([Array(bytes[..<cut]), Array(bytes[cut...])]) == whole, "cut at \(cut)")
    }
  }

  @Test func headOnePastItsLimitIsRefused() {
    var limits = HTTPLimits()
    let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    limits.headBytes = text.utf8.count
    #expect(read(text, limits: limits).ends == 1)
    limits.headBytes -= 1
    for pieces in [[Array(text.utf8)], single(text)] {
      #expect(read(pieces, limits: limits).error == .headTooLarge(limitBytes: limits.headBytes))
    }
  }

  @Test func targetOnePastItsLimitIsRefused() {
    var limits = HTTPLimits()
    limits.targetBytes = 8
    for pieces in [{ [Array(($0 as String).utf8)] }, single] {
      #expect(read(pieces("GET /1234567 HTTP/1.1\r\nHost: a\r\n\r\n"), limits: limits).ends == 1)
      #expect(
        read(pieces("GET /12345678 HTTP/1.1\r\nHost: a\r\n\r\n"), limits: limits).error
          == .targetTooLong(limitBytes: 8))
    }
  }

  @Test func fieldsOnePastTheirLimitAreRefused() {
    var limits = HTTPLimits()
    limits.fields = 3
    let start = "GET / HTTP/1.1\r\nHost: a\r\n"
    #expect(read(start + "A: 1\r\nB: 2\r\n\r\n", limits: limits).ends == 1)
    #expect(read(start + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n", limits: limits).error == .tooManyFields(limit: 3))
  }

  @Test func bodyOnePastItsLimitIsRefusedButTheHeadIsSeen() {
    var limits = HTTPLimits()
    limits.bodyBytes = 5
    #expect(read(AdversaryTests.post + "Content-Length: 5\r\n\r\nhello", limits: limits).ends == 1)
    let declared = read(AdversaryTests.post + "Content-Length: 6\r\n\r\n", limits: limits)
    #expect(declared.heads.count == 1)
    #expect(declared.error == .bodyTooLarge(limitBytes: 5))
    let chunked = AdversaryTests.chunked
    #expect(read(chunked + "5\r\nhello\r\n0\r\n\r\n", limits: limits).ends == 1)
    #expect(read(chunked + "3\r\nhel\r\n3\r\nlo!\r\n", limits: limits).error == .bodyTooLarge(limitBytes: 5))
  }

  @Test func trailersAndExtensionsAreBounded() {
    var limits = HTTPLimits()
    limits.headBytes = 100
    limits.chunkExtensionBytes = 10
    let start = AdversaryTests.chunked
    #expect(read(start + "1;abc\r\nx\r\n1;abc\r\nx\r\n0\r\n\r\n", limits: limits).ends == 1)
    #expect(
      read(start + "1;abcdefg\r\nx\r\n1;abcdefg\r\nx\r\n0\r\n\r\n", limits: limits).error
        == .malformed(.chunkExtension, offset: 18))
    let long = String(repeating: "a", count: 100)
    #expect(read(start + "0\r\nA: \(long)\r\n\r\n", limits: limits).error == .headTooLarge(limitBytes: 100))
    limits.fields = 3
    #expect(
      read(start + "0\r\nA:1\r\nB:1\r\nC:1\r\nD:1\r\n\r\n", limits: limits).error == .tooManyFields(limit: 3))
  }

  @Test func errorStays() {
    var parser = RequestParser()
    parser.append("GET / HTTP/1.1\n".utf8)
    #expect(throws: WireError.malformed(.bareLineFeed, offset: 14)) { try parser.next() }
    parser.append("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
    #expect(throws: WireError.malformed(.bareLineFeed, offset: 14)) { try parser.next() }
  }
}
