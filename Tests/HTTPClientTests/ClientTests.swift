import Glibc
import HTTPClient
import HTTPServer
import HTTPWire
import Synchronization
import Testing

/// Serves events 1...5 from `Last-Event-ID` on and breaks the connection after each second one.
private final class EventHandler: HTTPHandler {
  let streams = Atomic<Int>(0)

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    guard request.head.segments == ["events"] else {
      return HTTPResponse(status: 404, body: .bytes(Array("no".utf8)))
    }
    streams.wrappingAdd(1, ordering: .relaxed)
    let first = (request.head.fields.single("last-event-id").flatMap { Int($0) } ?? 0) + 1
    return .stream([("Content-Type", "text/event-stream")]) { writer in
      try await writer.write(ServerSentEvent.comment("hello"))
      for index in first...5 {
        try await writer.write(ServerSentEvent(id: "\(index)", data: Array("e\(index)".utf8)).encoded())
        if index == first + 1, index < 5 { throw WireError.peerGone }
      }
    }
  }

  func response(for error: WireError) -> HTTPResponse { HTTPResponse(status: 400) }
}

private func serve<R: Sendable>(
  tls: TLSConfiguration? = nil, _ body: @escaping @Sendable (BoundAddress, EventHandler) throws -> R
) async throws -> R {
  let handler = EventHandler()
  let server = HTTPServer(
    configuration: HTTPServerConfiguration(listeners: [.tcp(host: "127.0.0.1", port: 0)], tls: tls),
    handler: handler)
  let bound = try server.start()
  let result = await withCheckedContinuation { (done: CheckedContinuation<Result<R, any Error>, Never>) in
    let work = Work { done.resume(returning: Result { try body(bound[0], handler) }) }
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
  await server.drain(grace: .zero)
  return try result.get()
}

private final class Work: Sendable {
  let run: @Sendable () -> Void

  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

@Suite struct ClientTests {
  @Test func brokenStreamIsResumedAfterItsLastEvent() async throws {
    let (heard, streams) = try await serve { address, handler in
      var heard: [String] = []
      let client = try HTTPClient(url: "http://\(address)")
      let last = try client.events("/events") { event in
        heard.append(String(decoding: event.data, as: UTF8.self))
        return true
      }
      #expect(last == "5")
      return (heard, handler.streams.load(ordering: .relaxed))
    }
    #expect(heard == ["e1", "e2", "e3", "e4", "e5"])
    #expect(streams == 3)
  }

  @Test func streamStopsWhenItsReaderSaysSo() async throws {
    let heard = try await serve { address, _ in
      var heard = 0
      let client = try HTTPClient(url: "http://\(address)")
      try client.events("/events", lastEventID: "3") { _ in
        heard += 1
        return false
      }
      return heard
    }
    #expect(heard == 1)
  }

  @Test func refusedStreamCarriesItsBody() async throws {
    try await serve { address, _ in
      let client = try HTTPClient(url: "http://\(address)")
      #expect(throws: ClientError.refusedStream(status: 404, body: Array("no".utf8))) {
        try client.events("/none") { _ in true }
      }
    }
  }

  @Test(arguments: [
    "", "localhost", "ftp://a", "http://", "http://a:x", "http://u@a", "http://a:+1", "unix:rel",
  ])
  func otherURLsAreRefused(url: String) {
    #expect(throws: ClientError.invalidURL(url)) { try HTTPClient(url: url) }
  }

  @Test func nobodyThereIsUnreachable() throws {
    // A bound socket that does not listen: its port is free of others.
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    let port = try #require(bindLoopback(descriptor))
    let client = try HTTPClient(url: "http://127.0.0.1:\(port)")
    #expect(throws: ClientError.unreachable("127.0.0.1:\(port)", code: ECONNREFUSED)) {
      try client.send(.get, "/")
    }
    let none = try HTTPClient(url: "unix:/tmp/no-such-corad-socket")
    #expect(throws: ClientError.unreachable("localhost", code: ENOENT)) { try none.send(.get, "/") }
  }

  @Test func silentServerIsATimeout() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    let port = try #require(bindLoopback(descriptor))
    #expect(listen(descriptor, 1) == 0)
    let client = try HTTPClient(url: "http://127.0.0.1:\(port)", timeout: .milliseconds(50))
    #expect(throws: ClientError.timeout) { try client.send(.get, "/") }
  }

  private func bindLoopback(_ descriptor: Int32) -> UInt16? {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
      }
    }
    return result ? UInt16(bigEndian: address.sin_port) : nil
  }
}

@Suite struct TLSTests {
  /// A key and a self-signed certificate for 127.0.0.1 in a new folder.
  func certificate() throws -> (certificate: String, key: String) {
    var template = Array("/tmp/corad-tls-XXXXXX".utf8CString)
    mkdtemp(&template)
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let (certificate, key) = ("\(folder)/certificate.pem", "\(folder)/key.pem")
    let arguments = [
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
      "-days", "2",
      "-subj", "/CN=corad", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
    ]
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    defer { posix_spawn_file_actions_destroy(&actions) }
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var child = pid_t()
    #expect(posix_spawnp(&child, "openssl", &actions, nil, &pointers, environ) == 0)
    var status: Int32 = 0
    waitpid(child, &status, 0)
    #expect(status == 0)
    return (certificate, key)
  }

  @Test func trustedCertificateCarriesRequestsAndEvents() async throws {
    let (certificate, key) = try certificate()
    let heard = try await serve(tls: .init(certificateChainPath: certificate, privateKeyPath: key)) {
      address, _ in
      let client = try HTTPClient(url: "https://\(address)", trust: .authorityFile(certificate))
      for _ in 0..<3 { #expect(try client.send(.get, "/none").status == 404) }
      #expect(try client.send(.post, "/none", body: [UInt8](repeating: 1, count: 50_000)).status == 404)
      var heard = 0
      try client.events("/events") { _ in
        heard += 1
        return true
      }
      return heard
    }
    #expect(heard == 5)
  }

  @Test func unknownCertificateAndPlainTextAreRefused() async throws {
    let (certificate, key) = try certificate()
    try await serve(tls: .init(certificateChainPath: certificate, privateKeyPath: key)) { address, _ in
      let strange = try HTTPClient(url: "https://\(address)")
      #expect(throws: ClientError.tls(reason: "self-signed certificate")) { try strange.send(.get, "/") }
      guard case .tcp(_, let port) = address else { return }
      let misnamed = try HTTPClient(url: "https://localhost:\(port)", trust: .authorityFile(certificate))
      #expect(throws: ClientError.tls(reason: "hostname mismatch")) { try misnamed.send(.get, "/") }
      let plain = try HTTPClient(url: "http://\(address)")
      #expect(throws: ClientError.self) { try plain.send(.get, "/") }
    }
  }

  @Test func unreadableOrForeignKeyStopsTheStart() throws {
    let (certificate, _) = try certificate()
    let (_, foreign) = try self.certificate()
    func start(_ tls: TLSConfiguration) throws {
      let server = HTTPServer(
        configuration: HTTPServerConfiguration(listeners: [.tcp(host: "127.0.0.1", port: 0)], tls: tls),
        handler: EventHandler())
      _ = try server.start()
    }
    for key in [foreign, "/tmp/no-such-key"] {
      do {
        try start(.init(certificateChainPath: certificate, privateKeyPath: key))
        Issue.record("started with \(key)")
      } catch ServerError.tls(let path, _) {
        #expect(path == key)
      }
    }
  }
}
