import Foundation
import HTTPClient
import HTTPServer
import HTTPWire
import Synchronization
import Testing

@Suite struct ServerTests {
  @Test func keptConnectionCarriesManyRequests() async throws {
    try await withServer { server, _, bound in
      try await blocking {
        let client = try HTTPClient(url: "http://\(bound[0])")
        for _ in 0..<5 { #expect(try client.send(.get, "/hello").text == "hello") }
        #expect(try client.send(.get, "/none").status == 404)
        #expect(try client.send(.post, "/echo", body: Array("é".utf8)).text == "é")
      }
      #expect(server.metrics.acceptedConnections == 1)
      #expect(server.metrics.requests == 7)
    }
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
    try await withServer { _, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say(
          "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
            + "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
            + "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return client.hear()
      }
      let bodies = heard.split(separator: "\r\n\r\n").dropFirst().map { $0.prefix { $0 != "H" } }
      #expect(bodies == ["one", "ignored", "hello"])
    }
  }

  /// Answers wait for a write together; what is sent at once, the interim answer, must not overtake them.
  @Test func anInterimAnswerComesBehindTheAnswerBefore() async throws {
    try await withServer { _, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say(
          "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
            + "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n"
            + "Content-Length: 3\r\n\r\n")
        let first = client.hear(until: "100 Continue\r\n\r\n")
        client.say("end")
        return first + client.hear()
      }
      #expect(heard.hasPrefix("HTTP/1.1 200 OK"))
      #expect(heard.contains("hello" + "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"))
      #expect(heard.hasSuffix("end"))
    }
  }

  /// Far more than the socket holds, unread until all is asked for.
  @Test func answersWaitForAClientThatAsksBeforeItReads() async throws {
    let count = 40_000
    try await withServer { server, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        let request = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
        let asking = Thread {
          client.say(
            String(repeating: request, count: count - 1)
              + "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        }
        asking.start()
        Thread.sleep(forTimeInterval: 0.3)
        return client.hear()
      }
      #expect(heard.split(separator: "\r\n\r\nhello", omittingEmptySubsequences: true).count == count)
      #expect(server.metrics.requests == count)
    }
  }

  @Test func headHasNoBody() async throws {
    try await withServer { _, _, bound in
      try await blocking {
        let client = try HTTPClient(url: "http://\(bound[0])")
        let head = try client.send(.head, "/hello")
        #expect(head.body.isEmpty && head.fields.single("content-length") == "5")
        #expect(try client.send(.head, "/events").body.isEmpty)
        #expect(try client.send(.get, "/hello").text == "hello")
      }
    }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\n", "400"), ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ("GET / HTTP/3.0\r\n", "505"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "417"),
    ("GET /\(String(repeating: "a", count: 9000)) HTTP/1.1\r\n", "414"),
    ("GET / HTTP/1.1\r\nA: \(String(repeating: "a", count: 20000))\r\n\r\n", "431"),
  ])
  func malformedFramingIsAnsweredOnceAndClosed(text: String, status: String) async throws {
    try await withServer { server, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say(text + "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        return client.hear()
      }
      #expect(heard.hasPrefix("HTTP/1.1 \(status) "))
      #expect(heard.contains("Connection: close\r\n"))
      #expect(!heard.contains("hello"))
      #expect(server.metrics.malformedRequests == 1)
    }
  }

  @Test func oldClientGetsItsAnswerAndTheEnd() async throws {
    try await withServer { _, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say("GET /events HTTP/1.0\r\n\r\n")
        return client.hear()
      }
      #expect(heard.hasSuffix("\r\n\r\nid: 1\ndata: e1\n\nid: 2\ndata: e2\n\nid: 3\ndata: e3\n\n"))
    }
  }

  @Test func continueIsSentOnlyWhenTheBodyIsRead() async throws {
    try await withServer { _, _, bound in
      try await blocking {
        let reading = RawClient(bound[0])
        reading.say("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        #expect(reading.hear(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        reading.say("ok")
        #expect(reading.hear(until: "ok").hasPrefix("HTTP/1.1 200 OK"))

        let ignoring = RawClient(bound[0])
        ignoring.say("POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        let heard = ignoring.hear()
        #expect(heard.hasPrefix("HTTP/1.1 200 OK") && heard.contains("Connection: close"))

        let refused = RawClient(bound[0])
        refused.say(
          "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        #expect(refused.hear().hasPrefix("HTTP/1.1 413 "))
      }
    }
  }

  @Test func bodyAboveTheHandlersLimitIs413WhileItIsStillSent() async throws {
    try await withServer { _, _, bound in
      try await blocking {
        let client = try HTTPClient(url: "http://\(bound[0])")
        let body = [UInt8](repeating: 0, count: 3 << 20)
        #expect(try client.send(.post, "/echo", body: body).status == 413)
        var rest = 48
        let answer = try client.upload(.post, "/echo") {
          rest -= 1
          return rest < 0 ? nil : [UInt8](repeating: 1, count: 64 * 1024)
        }
        #expect(answer.status == 413)
        #expect(try client.send(.get, "/hello").status == 200)
      }
    }
  }

  @Test func anUploadThatCannotBeReadOnHasNoEnd() async throws {
    struct Unreadable: Error {}
    try await withServer { _, handler, bound in
      try await blocking {
        let client = try HTTPClient(url: "http://\(bound[0])")
        var rest = 2
        #expect(throws: Unreadable.self) {
          _ = try client.upload(.post, "/count") {
            rest -= 1
            if rest < 0 { throw Unreadable() }
            return [UInt8](repeating: 1, count: 1024)
          }
        }
      }
      #expect(await eventually { handler.broken.load(ordering: .relaxed) == 1 })
    }
  }

  @Test func chunkedUploadOfTwentyMegabytesWaitsForItsReader() async throws {
    try await withServer { server, handler, bound in
      let pieces = 320
      let upload = Task {
        try await blocking {
          let client = try HTTPClient(url: "http://\(bound[0])")
          var rest = pieces
          return try client.upload(.post, "/hold-body") {
            rest -= 1
            if rest < 0 { return nil }
            return [UInt8](repeating: 7, count: 64 * 1024)
          }.text
        }
      }
      await handler.started.wait()
      // The handler reads nothing yet: only what fits the parser and the kernel's buffers was taken.
      #expect(server.metrics.bytesReceived < 1 << 20)
      handler.gate.fire()
      let counted = try await upload.value
      #expect(counted == "\(pieces * 64 * 1024)")
    }
  }

  @Test func slowReaderHoldsTheProducer() async throws {
    try await withServer { server, handler, bound in
      let client = RawClient(bound[0], receiveBuffer: 64 * 1024)
      client.say("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
      await handler.started.wait()
      // The producer stops when the kernel's buffers are full; from then on nothing more is written.
      var last = -1
      #expect(
        await eventually {
          let now = server.metrics.bytesSent
          defer { last = now }
          for _ in 0..<2000 { await Task.yield() }
          return now > 0 && now == last
        })
      #expect(handler.written.load(ordering: .relaxed) < 32 << 20)
      client.reset()
    }
  }

  @Test(arguments: [false, true])
  func leavingClientCancelsItsHandler(byReset: Bool) async throws {
    try await withServer { server, handler, bound in
      do {
        let client = RawClient(bound[0])
        client.say("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        await handler.started.wait()
        if byReset { client.reset() }
      }
      await handler.cancelled.wait()
      #expect(await eventually { server.metrics.openConnections == 0 })
      #expect(server.metrics.abandonedRequests == 1)
    }
  }

  @Test func halfClosedClientGetsItsAnswer() async throws {
    try await withServer { _, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        client.finishWriting()
        return client.hear()
      }
      #expect(heard.hasSuffix("abc"))
    }
  }

  @Test func truncatedBodyIsNoBody() async throws {
    try await withServer { server, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabc")
        client.finishWriting()
        return client.hear()
      }
      #expect(!heard.hasSuffix("abc"))
      #expect(await eventually { server.metrics.openConnections == 0 })
    }
  }

  @Test func connectionsOverTheLimitAreToldSo() async throws {
    var limits = HTTPLimits()
    limits.connections = 2
    try await withServer(limits: limits) { server, _, bound in
      let held = [RawClient(bound[0]), RawClient(bound[0])]
      #expect(await eventually { server.metrics.openConnections == 2 })
      let heard = try await blocking { RawClient(bound[0]).hear() }
      #expect(heard.hasPrefix("HTTP/1.1 503 "))
      #expect(server.metrics.refusedConnections == 1)
      withExtendedLifetime(held) {}
    }
  }
}
