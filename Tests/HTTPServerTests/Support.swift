import Glibc
import HTTPClient
import HTTPWire
import Synchronization

@testable import HTTPServer

/// Answers by path; `gates` let a test hold an answer back without a clock.
final class TestHandler: HTTPHandler {
  let started = Signal()
  let cancelled = Signal()
  let gate = Signal()
  let written = Atomic<Int>(0)
  let received = Atomic<Int>(0)
  /// Bodies that did not come whole.
  let broken = Atomic<Int>(0)

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    do throws(WireError) {
      switch request.head.segments.first ?? "" {
      case "hello": return HTTPResponse(status: 200, body: .bytes(Array("hello".utf8)))
      case "echo":
        return HTTPResponse(status: 200, body: .bytes(try await request.body.collect(limitBytes: 1 << 20)))
      case "count":
        var count = 0
        while let piece = try await request.body.next() {
          count += piece.count
          received.store(count, ordering: .relaxed)
        }
        return text("\(count)")
      case "hold-body":
        started.fire()
        await gate.wait()
        var count = 0
        while let piece = try await request.body.next() { count += piece.count }
        return text("\(count)")
      case "hold":
        started.fire()
        await gate.wait()
        if Task.isCancelled { cancelled.fire() }
        return text("held")
      case "peer": return text("\(request.peer) \(request.isSecure)")
      case "ignore": return text("ignored")
      case "events":
        return .stream([("Content-Type", "text/event-stream")]) { writer in
          for index in 1...3 {
            try await writer.write(ServerSentEvent(id: "\(index)", data: Array("e\(index)".utf8)).encoded())
          }
        }
      case "flood":
        return .stream([]) { writer in
          let piece = [UInt8](repeating: 65, count: 64 * 1024)
          self.started.fire()
          while true {
            try await writer.write(piece)
            self.written.wrappingAdd(piece.count, ordering: .relaxed)
          }
        }
      default: return HTTPResponse(status: 404)
      }
    } catch {
      broken.wrappingAdd(1, ordering: .relaxed)
      return response(for: error)
    }
  }

  func response(for error: WireError) -> HTTPResponse {
    let status =
      switch error {
      case .malformed: 400
      case .headTimeout, .bodyTimeout: 408
      case .bodyTooLarge: 413
      case .targetTooLong: 414
      case .expectationFailed: 417
      case .headTooLarge, .tooManyFields: 431
      case .notImplemented: 501
      case .tooManyConnections, .peerGone: 503
      case .unsupportedVersion: 505
      }
    return HTTPResponse(status: status, body: .bytes(Array("\(error)".utf8)))
  }

  private func text(_ text: String) -> HTTPResponse {
    HTTPResponse(status: 200, body: .bytes(Array(text.utf8)))
  }
}

/// Fires once; waiting ends when it fired or the waiting Task is cancelled.
final class Signal: Sendable {
  private struct State {
    var isFired = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  private let state = Locked(State())

  func fire() {
    let waiting = state.withLock { state in
      state.isFired = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if state.isFired || Task.isCancelled { return true }
          state.waiting.append(continuation)
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      let waiting = state.withLock { state in
        defer { state.waiting = [] }
        return state.waiting
      }
      for continuation in waiting { continuation.resume() }
    }
  }
}

/// A server on a port of the kernel's choice, drained at the end.
func withServer<R: Sendable>(
  listeners: [ListenAddress] = [.tcp(host: "127.0.0.1", port: 0)], tls: TLSConfiguration? = nil,
  loops: Int = 2,
  limits: HTTPLimits = HTTPLimits(), _ body: (HTTPServer, TestHandler, [BoundAddress]) async throws -> R
) async throws -> R {
  let handler = TestHandler()
  let server = HTTPServer(
    configuration: HTTPServerConfiguration(listeners: listeners, tls: tls, loops: loops, limits: limits),
    handler: handler)
  let bound = try server.start()
  do {
    let result = try await body(server, handler, bound)
    handler.gate.fire()
    await server.drain(grace: .seconds(5))
    return result
  } catch {
    handler.gate.fire()
    await server.drain(grace: .zero)
    throw error
  }
}

/// A plain blocking socket that says and hears bytes; reads give up after ten seconds.
final class RawClient: Sendable {
  let descriptor: Int32

  /// A socket that is not connected yet.
  init(receiveBuffer: Int32? = nil) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    if var receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
    }
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  /// One end of a pair.
  init(adopting descriptor: Int32) {
    self.descriptor = descriptor
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  convenience init(_ address: BoundAddress, receiveBuffer: Int32? = nil) {
    self.init(receiveBuffer: receiveBuffer)
    connect(to: address)
  }

  func connect(to address: BoundAddress) {
    precondition(reaches(address), "the server listens")
  }

  /// Whether a connection is accepted there now.
  static func isAccepted(at address: BoundAddress) -> Bool { RawClient().reaches(address) }

  private func reaches(_ address: BoundAddress) -> Bool {
    guard case .tcp(let host, let port) = address else { preconditionFailure("a TCP address") }
    var target = sockaddr_in()
    target.sin_family = sa_family_t(AF_INET)
    target.sin_port = port.bigEndian
    inet_pton(AF_INET, host, &target.sin_addr)
    return withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    } == 0
  }

  deinit { close(descriptor) }

  func say(_ text: String) { say(Array(text.utf8)) }

  func say(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count <= 0 { return }
      rest = rest.dropFirst(count)
    }
  }

  /// Up to and including `end`, or to the end of the connection.
  func hear(until end: String? = nil) -> String {
    var heard: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      if let end, String(decoding: heard, as: UTF8.self).hasSuffix(end) { break }
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count <= 0 { break }
      heard += buffer[..<count]
    }
    return String(decoding: heard, as: UTF8.self)
  }

  func finishWriting() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Closes with a reset.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    shutdown(descriptor, Int32(SHUT_RDWR))
  }
}

/// Runs blocking code on a thread of its own, so that it holds no thread of the pool.
func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
  try await withCheckedThrowingContinuation { continuation in
    let work = Work { continuation.resume(with: Result { try body() }) }
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(work).toOpaque())
    pthread_detach(thread)
  }
}

private final class Work: Sendable {
  let run: @Sendable () -> Void

  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Polls a condition on the clock until it holds; a bound of twenty seconds makes it a failure, not a hang.
func eventually(_ condition: () async -> Bool) async -> Bool {
  let end = ContinuousClock.now + .seconds(120)
  while ContinuousClock.now < end {
    if await condition() { return true }
    await Task.yield()
  }
  return false
}

/// The text of one GET.
func ask(_ url: String, _ path: String, trust: ClientTrust = .system) async throws -> String {
  try await blocking {
    let client = try HTTPClient(url: url, trust: trust)
    return try client.send(.get, path).text
  }
}
