import DaemonSupport
import Foundation
import HTTPWire
import Testing

/// SIGTERM at each stage of a daemon's life.
@Suite(.serialized) struct StopTests {
  @Test func beforeReadinessItEndsInOrder() async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    // A first start extracts the default subspace, which takes seconds; the store is there before.
    let daemon = try LiveDaemon(store: store, folder: folder.path)
    #expect(await eventually { FileManager.default.fileExists(atPath: store + "-wal") })
    #expect(await daemon.terminate() == .exit(0), "\(daemon.log)")
    #expect(daemon.log.contains("stopped before it was ready") && !daemon.log.contains("listening on"))
    // Nothing is in the way of the next start.
    let next = try await LiveDaemon.start(store: store, folder: folder.path)
    #expect(try await next.send(.get, "/readyz").status == 200)
    #expect(await next.terminate() == .exit(0))
  }

  @Test func openConnectionsHearOfTheDrainAndAnswersInFlightEnd() async throws {
    let (daemon, folder) = try await self.daemon()
    let started = try await daemon.send(
      .post, "/train", fields: ProxyTests.json, body: Rows.training(task: "long", rows: 200, epochs: 500))
    let job = try #require(started.fields.single("location"))
    // One connection in the middle of its body, one in the middle of its head, one that hears events.
    let body = Rows.neighbour
    let busy = try #require(RawConnection(daemon.addresses[0]))
    busy.say(
      "POST /adapters/base/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        + "Content-Length: \(body.utf8.count)\r\nExpect: 100-continue\r\n\r\n")
    let events = try #require(RawConnection(daemon.addresses[0]))
    events.say("GET \(job)/events HTTP/1.1\r\nHost: a\r\n\r\n")
    let probe = try #require(RawConnection(daemon.addresses[0]))
    probe.say("GET /readyz HTTP/1.1\r\nHost: a\r\n")
    let order = try #require(RawConnection(daemon.addresses[0]))
    order.say("POST /train HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
    let beforehand = try await blocking {
      (busy.hear(until: "\r\n\r\n"), events.hear(until: "event: step"))
    }
    #expect(beforehand.0.hasPrefix("HTTP/1.1 100 "), "\(beforehand.0)")
    #expect(beforehand.1.contains("event: step"))

    daemon.signal(SIGTERM)
    #expect(await eventually { RawConnection(daemon.addresses[0]) == nil })
    probe.say("\r\n")
    let draining = try await blocking { probe.hear() }
    #expect(draining.hasPrefix("HTTP/1.1 503 ") && draining.contains("not-ready"), "\(draining)")
    #expect(draining.contains("draining") && draining.contains("Connection: close"))
    let more = Rows.training(task: "late", rows: 16, epochs: 1)
    order.say("Content-Length: \(more.utf8.count)\r\n\r\n" + more)
    let refused = try await blocking { order.hear() }
    #expect(refused.hasPrefix("HTTP/1.1 503 ") && refused.contains(#""code":"draining""#), "\(refused)")
    let rest = try await blocking { events.hear() }
    #expect(rest.contains(#""state":"queued""#), "\(rest)")
    #expect(rest.contains("event: error") && rest.contains(#""code":"draining""#), "\(rest)")
    #expect(rest.hasSuffix("0\r\n\r\n"), "the stream ends whole")
    #expect(daemon.isRunning)
    busy.say(body)
    let answer = try await blocking { busy.hear() }
    #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.contains("embeddings"), "\(answer)")
    #expect(await daemon.ended() == .exit(0))

    // The job goes on where it was.
    let next = try await LiveDaemon.start(store: folder.path + "/store.sqlite", folder: folder.path)
    let now = try await next.send(.get, job)
    #expect(["queued", "running"].contains(now.json["state"].string) && now.json["step"].int ?? 0 > 0)
    #expect(await next.terminate() == .exit(0))
  }

  @Test(arguments: [(SIGTERM, SIGTERM), (SIGINT, SIGTERM)])
  func secondSignalEndsItAtOnce(first: Int32, second: Int32) async throws {
    let (daemon, _) = try await daemon()
    let busy = try #require(RawConnection(daemon.addresses[0]))
    busy.say(
      "POST /adapters/base/infer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        + "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n")
    let heard = try await blocking { busy.hear(until: "\r\n\r\n") }
    #expect(heard.hasPrefix("HTTP/1.1 100 "))
    daemon.signal(first)
    #expect(await eventually { RawConnection(daemon.addresses[0]) == nil })
    #expect(daemon.isRunning)
    daemon.signal(second)
    #expect(await daemon.ended() == .exit(1))
  }

  @Test func interruptIsAStopToo() async throws {
    let (daemon, folder) = try await daemon()
    daemon.signal(SIGINT)
    #expect(await daemon.ended() == .exit(0))
    let store = folder.path + "/store.sqlite"
    let healthy = try await blocking { try Command.corad(["doctor", "--store", store]) }
    #expect(healthy.status == 0, "\(healthy.output)")
  }

  /// The service manager hears of readiness and of the stop, and the watchdog of life.
  @Test func theServiceManagerIsTold() async throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    let manager = try DatagramSocket(folder.path + "/notify")
    let daemon = try await LiveDaemon.start(
      store: store, folder: folder.path,
      environment: ["NOTIFY_SOCKET": folder.path + "/notify", "WATCHDOG_USEC": "200000"])
    var told: [String] = []
    while !told.contains("READY=1") || !told.contains("WATCHDOG=1") {
      told.append(try #require(try await blocking { manager.receive() }))
    }
    daemon.signal(SIGTERM)
    while told.last != "STOPPING=1" { told.append(try #require(try await blocking { manager.receive() })) }
    #expect(await daemon.ended() == .exit(0))
  }

  /// A full descriptor table is a bad time, not the end.
  @Test func descriptorsRunOutAndComeBack() async throws {
    let (daemon, _) = try await daemon()
    let limited = try Command.run(["prlimit", "--pid", "\(daemon.processID)", "--nofile=48:48"])
    #expect(limited.status == 0, "\(limited.errors)")
    var held: [RawConnection] = []
    for _ in 0..<64 { held.append(try #require(RawConnection(daemon.addresses[0]))) }
    for connection in held { connection.say("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") }
    // The first are answered and kept; for the last there is no descriptor left.
    let first = try await blocking { [held] in held[0].hear(until: "alive") }
    #expect(first.hasPrefix("HTTP/1.1 200 "))
    let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.processID)/fd").count
    #expect(open < held.count)
    let last = held.removeLast()
    held.removeAll()
    let answered = try await blocking { last.hear(until: "alive") }
    #expect(answered.hasPrefix("HTTP/1.1 200 "))
    let infer = try await daemon.send(
      .post, "/adapters/base/infer", fields: ProxyTests.json, body: Rows.neighbour)
    #expect(infer.status == 200, "\(infer.text)")
    #expect(await daemon.terminate() == .exit(0))
  }

  private func daemon() async throws -> (LiveDaemon, TemporaryFolder) {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    return (try await LiveDaemon.start(store: store, folder: folder.path), folder)
  }
}

/// Where a service manager listens.
final class DatagramSocket: Sendable {
  private let descriptor: Int32

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else { throw LiveDaemon.Failure(description: "no socket at \(path)") }
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// nil after a minute.
  func receive() -> String? {
    var buffer = [UInt8](repeating: 0, count: 512)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
  }
}
