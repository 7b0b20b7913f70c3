import HTTPWire
import Testing

@Suite struct RequestParserTests {
  @Test func partsOfAHeadAreDecoded() throws {
    let head = try head(
      "GET /adapters/a%2Fb/x?q=1+2&e=%C3%A9&flag&=v HTTP/1.1\r\nhOsT: h:1\r\nX: \t v w \r\nx: 2\r\n\r\n")
    #expect(head.method == .get)
    #expect(head.rawPath == "/adapters/a%2Fb/x")
    #expect(head.segments == ["adapters", "a/b", "x"])
    #expect(head.query.map(\.name) == ["q", "e", "flag", ""])
    #expect(head.query.map(\.value) == ["1 2", "é", "", "v"])
    #expect(head.host == "h:1")
    #expect(head.fields.values(for: "X") == ["v w", "2"])
    #expect(head.fields.single("x") == nil)
    #expect(head.fields.single("HOST") == "h:1")
    #expect(head.isKeepAlive)
  }

  @Test(arguments: [
    ("/", []), ("/a", ["a"]), ("/a/", ["a", ""]), ("//a", ["", "a"]), ("/?x", []), ("/a?/b", ["a"]),
  ])
  func segments(target: String, expected: [String]) throws {
    #expect(try head("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n").segments == expected)
    #expect(try HTTPRequestHead(method: .get, target: target).segments == expected)
  }

  @Test func absoluteFormNamesItsOwnHost() throws {
    let absolute = try head("GET http://b:80/c?d HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(absolute.host == "b:80")
    #expect(absolute.rawPath == "/c")
    #expect(absolute.rawQuery == "d")
    #expect(try head("GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n").rawPath == "/")
    #expect(try head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").rawPath == "*")
  }

  @Test(arguments: [
    ("1.1", "", true), ("1.1", "Connection: close\r\n", false), ("1.1", "Connection: foo, Close\r\n", false),
    ("1.0", "", false), ("1.0", "Connection: Keep-Alive\r\n", true),
    ("1.0", "Connection: keep-alive, close\r\n", false),
  ])
  func keepAlive(version: String, field: String, expected: Bool) throws {
    #expect(try head("GET / HTTP/\(version)\r\nHost: a\r\n\(field)\r\n").isKeepAlive == expected)
  }

  @Test func expectationOfAnOldClientIsIgnored() throws {
    #expect(try !head("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expectsContinue)
    #expect(
      try head("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n")
        .expectsContinue)
  }

  @Test func pipelinedRequestsComeInOrderWhateverTheCut() {
    let text =
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
      + "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
      + "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
      + "3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: dropped\r\n\r\n" + "GET /4 HTTP/1.0\r\n\r\n"
    let whole = read(text)
    #expect(whole.error == nil)
    #expect(whole.ends == 4)
    #expect(whole.bodies == ["", "hello", "abc0123456789", ""].map { Array($0.utf8) })
    #expect(read(single(text)) == whole)
    let bytes = Array(text.utf8)
    for cut in 1..<bytes.count { #expect(read([Array(bytes[..<cut]), Array(bytes[cut...])]) == whole) }
  }

  @Test func nothingBehindARequestIsReadBeforeItIsAskedFor() throws {
    var parser = RequestParser()
    parser.append("GET / HTTP/1.1\r\nHost: a\r\n\r\nBAD\n".utf8)
    guard case .head = try parser.next() else { Issue.record("no head"); return }
    guard case .end = try parser.next() else { Issue.record("no end"); return }
    #expect(throws: WireError.self) { try parser.next() }
  }

  /// Random valid requests, random cuts: what was encoded comes back.
  @Test(arguments: 0..<40)
  func encodedRequestsComeBack(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    var text: [UInt8] = []
    var expected: [(target: String, value: String, body: [UInt8])] = []
    for _ in 0..<Int.random(in: 1...5, using: &random) {
      let name = String(
        (0..<Int.random(in: 0...12, using: &random)).map { _ in
          Character(Unicode.Scalar(UInt8.random(in: 32...126, using: &random)))
        })
      let value = String(name.filter { $0 != " " })
      let body = (0..<Int.random(in: 0...300, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      expected.append((name, value, body))
      let target = "/t/" + RequestEncoder.escaped(name)
      if Bool.random(using: &random) {
        text += RequestEncoder.encode(.post, target: target, host: "h", fields: [("V", value)], body: body)
      } else {
        text += RequestEncoder.encode(
          .post, target: target, host: "h", fields: [("V", value), ("Transfer-Encoding", "chunked")])
        var rest = body[...]
        while !rest.isEmpty {
          let size = Int.random(in: 1...rest.count, using: &random)
          text += ResponseEncoder.chunk(Array(rest.prefix(size)))
          rest = rest.dropFirst(size)
        }
        text += ResponseEncoder.lastChunk
      }
    }
    var parser = RequestParser()
    var rest = text[...]
    var index = -1
    var body: [UInt8] = []
    var ended = 0
    while true {
      switch try parser.next() {
      case .needMore:
        guard !rest.isEmpty else {
          #expect(ended == expected.count, "seed \(seed)")
          return
        }
        let size = min(rest.count, Int.random(in: 1...200, using: &random))
        parser.append(rest.prefix(size))
        rest = rest.dropFirst(size)
      case .head(let head):
        index += 1
        body = []
        #expect(head.segments == ["t", expected[index].target], "seed \(seed)")
        #expect(head.fields.single("v") == expected[index].value, "seed \(seed)")
      case .body(let bytes): body += bytes
      case .end:
        ended += 1
        #expect(body == expected[index].body, "seed \(seed)")
      }
    }
  }
}

/// SplitMix64 [Steele14], so that a failing seed can be repeated.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
