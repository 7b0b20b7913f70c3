import Glibc
import HTTPWire
import Testing

@testable import HTTPServer

@Suite struct DrainTests {
  func server(_ handler: TestHandler, loops: Int = 1, idle: Duration = .milliseconds(500)) -> HTTPServer {
    HTTPServer(
      configuration: HTTPServerConfiguration(
        listeners: [.tcp(host: "127.0.0.1", port: 0)], loops: loops, drainIdleTime: idle), handler: handler)
  }

  @Test func answerInProgressEndsAndIdleConnectionsClose() async throws {
    let handler = TestHandler()
    let server = server(handler, loops: 2)
    let bound = try server.start()
    let idle = RawClient(bound[0])
    let busy = RawClient(bound[0])
    #expect(await eventually { server.metrics.openConnections == 2 })
    busy.say("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
    await handler.started.wait()
    let drain = Task { await server.drain(grace: .seconds(20)) }
    let nothing = try await blocking { idle.hear() }
    #expect(nothing == "")
    handler.gate.fire()
    let heard = try await blocking { busy.hear() }
    #expect(heard.hasSuffix("held") && heard.contains("Connection: close"))
    await drain.value
    #expect(server.metrics.openConnections == 0 && server.metrics.abandonedRequests == 0)
  }

  @Test func answerThatOutlivesTheGraceIsCancelled() async throws {
    let handler = TestHandler()
    let server = server(handler)
    let bound = try server.start()
    let client = RawClient(bound[0])
    client.say("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
    await handler.started.wait()
    await server.drain(grace: .milliseconds(20))
    await handler.cancelled.wait()
    #expect(server.metrics.openConnections == 0)
    let nothing = try await blocking { client.hear() }
    #expect(nothing == "")
  }

  /// A client that sends on a kept connection just when the server drains is answered, not reset.
  @Test func keptConnectionIsAnsweredOnceMoreWhileNewOnesAreRefused() async throws {
    let handler = TestHandler()
    let server = server(handler, idle: .seconds(60))
    let bound = try server.start()
    let kept = RawClient(bound[0])
    kept.say("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    let first = try await blocking { kept.hear(until: "hello") }
    #expect(!first.contains("Connection: close"))
    let half = RawClient(bound[0])
    half.say("GET /hello HTTP/1.1\r\nHo")
    #expect(await eventually { server.metrics.openConnections == 2 })
    let drain = Task { await server.drain(grace: .seconds(60)) }
    #expect(await eventually { !RawClient.isAccepted(at: bound[0]) })
    kept.say("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    half.say("st: a\r\n\r\n")
    let heard = try await blocking { [kept.hear(), half.hear()] }
    for text in heard { #expect(text.hasSuffix("hello") && text.contains("Connection: close")) }
    // Both have ended, so nothing is waited for.
    await drain.value
    #expect(server.metrics.requests == 3 && server.metrics.timeouts == 0)
  }

  @Test func secondDrainReturnsAndTheFiguresStay() async throws {
    let server = server(TestHandler())
    let bound = try server.start()
    let text = try await ask("http://\(bound[0])", "/hello")
    #expect(text == "hello")
    await server.drain(grace: .zero)
    await server.drain(grace: .zero)
    #expect(server.metrics.requests == 1)
  }
}
