import HTTPWire
import Testing

@Suite struct ResponseTests {
  static let date = "Sun, 06 Nov 1994 08:49:37 GMT"

  func encode(
    _ response: HTTPResponse, _ method: HTTPMethod = .get, minor: Int = 1, keep: Bool = true
  ) throws -> (text: String, next: ResponseEncoder.Continuation, keep: Bool) {
    var output: [UInt8] = []
    var kept = keep
    let head = try HTTPRequestHead(method: method, target: "/", minorVersion: minor)
    let next = ResponseEncoder.encode(
      response, to: head, isKeepAlive: &kept, date: ResponseTests.date, into: &output)
    return (String(decoding: output, as: UTF8.self), next, kept)
  }

  @Test func headAndBodyAreOneBuffer() throws {
    let answer = HTTPResponse(
      status: 200, fields: [("X", "1"), ("Content-Length", "99")], body: .bytes([65, 66]))
    #expect(
      try encode(answer).text
        == "HTTP/1.1 200 OK\r\nX: 1\r\nDate: \(ResponseTests.date)\r\nContent-Length: 2\r\n\r\nAB")
  }

  @Test func headOfAHeadAnswerNamesTheLengthWithoutTheBody() throws {
    let text = try encode(HTTPResponse(status: 200, body: .bytes([65, 66])), .head).text
    #expect(text.contains("Content-Length: 2\r\n"))
    #expect(text.hasSuffix("\r\n\r\n"))
  }

  @Test(arguments: [204, 304])
  func bodylessStatusHasNeitherBodyNorLength(status: Int) throws {
    let text = try encode(HTTPResponse(status: status, body: .bytes([65]))).text
    #expect(!text.contains("Content-Length"))
    #expect(text.hasSuffix("\r\n\r\n"))
  }

  @Test func streamIsChunkedOnOneOneAndClosedOnOneZero() throws {
    let stream = HTTPResponse.stream([]) { _ in }
    let new = try encode(stream)
    #expect(new.next == .chunked && new.keep && new.text.contains("Transfer-Encoding: chunked\r\n"))
    let old = try encode(stream, minor: 0)
    #expect(old.next == .untilClose && !old.keep && !old.text.contains("Transfer-Encoding"))
    #expect(try encode(stream, .head).next == .complete)
  }

  @Test func lineBreaksCannotAddFields() throws {
    let text = try encode(HTTPResponse(status: 200, fields: [("X", "1\r\nSet-Cookie: a\0")])).text
    #expect(text.contains("X: 1  Set-Cookie: a \r\n"))
  }

  @Test func connectionFieldFollowsTheVersion() throws {
    #expect(try encode(HTTPResponse(status: 200), keep: false).text.contains("Connection: close\r\n"))
    #expect(try encode(HTTPResponse(status: 200), minor: 0).text.contains("Connection: keep-alive\r\n"))
    let closing = try encode(HTTPResponse(status: 200, fields: [("connection", "close")]))
    #expect(!closing.keep && closing.text.contains("Connection: close\r\n"))
  }

  @Test func answersAreReadBackAtEveryCut() throws {
    let text =
      "HTTP/1.1 100 Continue\r\n\r\n"
      + "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for cut in 0...text.utf8.count {
      var parser = ResponseParser(method: .get)
      let bytes = Array(text.utf8)
      var body: [UInt8] = []
      var status = 0
      var pieces = [bytes[..<cut], bytes[cut...]]
      loop: while true {
        switch try parser.next() {
        case .needMore:
          guard !pieces.isEmpty else { break loop }
          parser.append(pieces.removeFirst())
        case .head(let head): status = head.status
        case .body(let piece): body += piece
        case .end: break loop
        }
      }
      #expect(status == 200)
      #expect(body == Array("hello".utf8))
    }
  }

  @Test func brokenAnswersAreErrors() {
    func outcome(_ text: String) -> WireError? {
      var parser = ResponseParser(method: .get)
      parser.append(text.utf8)
      parser.finish()
      do throws(WireError) {
        while true {
          if case .end = try parser.next() { return nil }
        }
      } catch {
        return error
      }
    }
    #expect(outcome("") == .peerGone)
    #expect(
      outcome("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab") == .malformed(.truncatedBody, offset: 0))
    #expect(
      outcome("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc") == .malformed(.contentLength, offset: 0))
    #expect(outcome("SSH-2.0-x\r\n\r\n") == .malformed(.status, offset: 0))
    #expect(outcome("HTTP/1.1 200 OK\r\n\r\nuntil the end") == nil)
  }
}

@Suite struct DateTests {
  @Test(arguments: [
    "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
  ])
  func threeFormsOfOneMoment(text: String) {
    #expect(HTTPDate.parse(text, now: 1_700_000_000) == 784_111_777)
  }

  @Test func datesComeBack() {
    for seed in UInt64(0)..<200 {
      var random = SplitMix(state: seed)
      let second = Int64.random(in: 0..<253_402_300_800, using: &random)
      #expect(HTTPDate.parse(HTTPDate.format(second), now: 0) == second, "seed \(seed)")
    }
    #expect(HTTPDate.format(951_782_400) == "Tue, 29 Feb 2000 00:00:00 GMT")
  }

  @Test(arguments: [
    "", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 +8:49:37 GMT",
  ])
  func otherTextIsNoDate(text: String) {
    #expect(HTTPDate.parse(text, now: 0) == nil)
  }
}

@Suite struct EventStreamTests {
  @Test func eventsComeBackAtEveryCut() throws {
    let events = [
      ServerSentEvent(id: "1", event: "step", data: Array("{\"a\":1}".utf8)),
      ServerSentEvent(id: "1", event: nil, data: Array("two\nlines".utf8)),
      ServerSentEvent(id: "é", event: "x", data: []),
    ]
    let bytes = ServerSentEvent.comment("hi") + events.flatMap { $0.encoded() }
    for cut in 0...bytes.count {
      var parser = EventStreamParser()
      let received = try parser.receive(bytes[..<cut]) + parser.receive(bytes[cut...])
      #expect(received == events)
      #expect(parser.lastEventID == "é")
    }
  }

  @Test func lineEndsAndOddLines() throws {
    var parser = EventStreamParser()
    let text =
      "\u{feff}data:a\r\ndata: b\rdata\nunknown: 1\nretry: 20\nretry: +2\n\nevent: none\n\nid: 7\0\ndata:  c\n\n"
    let events = try parser.receive(text.utf8)
    #expect(events.map { String(decoding: $0.data, as: UTF8.self) } == ["a\nb\n", " c"])
    #expect(events.map(\.event) == [nil, nil])
    #expect(parser.lastEventID == nil)
    #expect(parser.retryMilliseconds == 20)
  }

  @Test func anEventAboveTheLimitIsRefused() {
    var parser = EventStreamParser(limitBytes: 10)
    #expect(throws: WireError.headTooLarge(limitBytes: 10)) { try parser.receive("data: 12345".utf8) }
  }

  @Test func breaksInNamesAreSpaces() {
    let text = String(decoding: ServerSentEvent(id: "1\ndata: x", data: [65]).encoded(), as: UTF8.self)
    #expect(text == "id: 1 data: x\ndata: A\n\n")
  }
}

@Suite struct BodyTests {
  @Test func memoryBodyIsReadOnce() async throws {
    let body = HTTPBody([1, 2, 3])
    #expect(try await body.collect(limitBytes: 3) == [1, 2, 3])
    #expect(try await body.next() == nil)
    #expect(try await HTTPBody([]).collect(limitBytes: 0) == [])
    await #expect(throws: WireError.bodyTooLarge(limitBytes: 2)) {
      try await HTTPBody([1, 2, 3]).collect(limitBytes: 2)
    }
  }
}
