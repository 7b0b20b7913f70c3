import Glibc
import HTTPClient
import HTTPServer
import HTTPWire
import Synchronization
import Testing

@testable import HTTPServer

@Suite struct TimeTests {
  func limits(_ change: (inout HTTPLimits) -> Void) -> HTTPLimits {
    var limits = HTTPLimits()
    change(&limits)
    return limits
  }

  @Test func slowHeadIs408() async throws {
    try await withServer(limits: limits { $0.headTime = .milliseconds(50) }) { server, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say("GET / HT")
        return client.hear()
      }
      #expect(heard.hasPrefix("HTTP/1.1 408 "))
      #expect(server.metrics.timeouts == 1)
    }
  }

  @Test func idleConnectionIsClosedQuietly() async throws {
    try await withServer(limits: limits { $0.idleTime = .milliseconds(50) }) { server, _, bound in
      try await blocking {
        #expect(RawClient(bound[0]).hear() == "")
        let client = RawClient(bound[0])
        client.say("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(client.hear().hasSuffix("hello"))
      }
      #expect(server.metrics.timeouts == 2)
    }
  }

  @Test func stalledBodyIs408() async throws {
    try await withServer(limits: limits { $0.bodyTime = .milliseconds(50) }) { _, _, bound in
      let heard = try await blocking {
        let client = RawClient(bound[0])
        client.say("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        return client.hear()
      }
      #expect(heard.hasPrefix("HTTP/1.1 408 "))
    }
  }

  @Test func readerThatTakesNothingIsLetGo() async throws {
    try await withServer(limits: limits { $0.writeTime = .milliseconds(50) }) { server, handler, bound in
      let client = RawClient(bound[0], receiveBuffer: 64 * 1024)
      client.say("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
      await handler.started.wait()
      #expect(await eventually { server.metrics.openConnections == 0 })
      #expect(server.metrics.timeouts == 1)
    }
  }

  /// Deadlines of several kinds come and pass on a kept connection; its entries in the wheel do not add up.
  @Test(arguments: [(75_000, 30_000), (4_000, 200), (600, 200)])
  func aKeptConnectionHasFewTimers(idleMilliseconds: Int, bodyMilliseconds: Int) async throws {
    let limits = limits {
      $0.idleTime = .milliseconds(idleMilliseconds)
      $0.bodyTime = .milliseconds(bodyMilliseconds)
    }
    let loop = try EventLoop(name: "timers")
    try loop.start()
    var pair: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    _ = fcntl(pair[0], F_SETFL, O_NONBLOCK)
    let closed = Signal()
    let connection = Connection(
      id: 1, transport: Transport(descriptor: pair[0], session: nil), peer: .unix,
      handler: TimerCounter(loop: loop), limits: limits, times: LimitTimes(limits), loop: loop,
      onClose: { _ in closed.fire() })
    let isStarted = await connection.start()
    try #require(isStarted)
    let counts = try await blocking { [client = RawClient(adopting: pair[1])] in
      let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
      var counts: Set<String> = []
      var said = 0
      let end = ContinuousClock.now + .seconds(2)
      while ContinuousClock.now < end {
        client.say(head)
        said += head.utf8.count
        // Apart for the server, which gives the body a deadline.
        while loop.counters.received.load(ordering: .relaxed) < said, ContinuousClock.now < end {
          sched_yield()
        }
        client.say("ab")
        said += 2
        counts.insert(String(client.hear(until: ";").split(whereSeparator: \.isNewline).last ?? ""))
      }
      client.finishWriting()
      return counts
    }
    #expect(!counts.isEmpty && counts.isSubset(of: ["1;", "2;"]), "\(counts.sorted())")
    await closed.wait()
    loop.stop()
  }

  @Test func wheelReportsWhenItSays() {
    var wheel = TimerWheel(now: 1_000_000_000)
    for time: Int64 in [0, 1_000_000_000, 1_008_000_001, 3_000_000_000, 60_000_000_000] {
      let report = wheel.report(of: time)
      wheel.schedule(7, at: time)
      var due: [UInt64] = []
      wheel.advance(to: report - 1, into: &due)
      #expect(due.isEmpty)
      wheel.advance(to: report, into: &due)
      #expect(due == [7])
    }
  }

  @Test func wheelFiresNothingEarlyWithinItsSpanAndNothingLate() {
    for seed in UInt64(0)..<20 {
      var random = SystemRandom(state: seed)
      var now: Int64 = 1_000_000_000
      var wheel = TimerWheel(now: now)
      var wanted: [UInt64: Int64] = [:]
      for token in UInt64(0)..<200 {
        let time = now + Int64(random.next() % 7_000_000_000)
        wanted[token] = time
        wheel.schedule(token, at: time)
      }
      while let wait = wheel.wait(now: now) {
        now += wait * 1_000_000
        var due: [UInt64] = []
        wheel.advance(to: now, into: &due)
        for token in due {
          let time = wanted.removeValue(forKey: token) ?? .max
          #expect(time <= now && now - time <= 2 * TimerWheel.tickNanoseconds, "seed \(seed)")
        }
      }
      #expect(wanted.isEmpty && wheel.count == 0, "seed \(seed)")
    }
  }

  @Test func farTimersFireEarlySoThatTheirOwnerLooksAgain() {
    var wheel = TimerWheel(now: 0)
    wheel.schedule(7, at: 60_000_000_000)
    var due: [UInt64] = []
    wheel.advance(to: 9_000_000_000, into: &due)
    #expect(due == [7])
  }
}

/// Answers with the number of entries in its loop's wheel, once it has the body.
private struct TimerCounter: HTTPHandler {
  let loop: EventLoop

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    do throws(WireError) {
      _ = try await request.body.collect(limitBytes: 16)
    } catch {
      return response(for: error)
    }
    loop.checkIsolated()
    return HTTPResponse(status: 200, body: .bytes(Array("\(loop.wheel.count);".utf8)))
  }

  func response(for error: WireError) -> HTTPResponse { HTTPResponse(status: 400) }
}

/// SplitMix64 [Steele14].
struct SystemRandom {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    return mixed ^ (mixed >> 31)
  }
}
