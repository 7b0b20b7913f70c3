import Glibc
import HTTPClient
import HTTPServer
import HTTPWire
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
