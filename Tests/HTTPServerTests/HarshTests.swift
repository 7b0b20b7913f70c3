import Glibc
import HTTPServer
import HTTPWire
import Synchronization
import Testing

@testable import HTTPClient

/// A machine and clients at their worst.
@Suite(.serialized) struct HarshTests {
  /// Whether the machine has a loopback of version 6.
  static let hasVersion6: Bool = {
    let descriptor = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    inet_pton(AF_INET6, "::1", &address.sin6_addr)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size)) == 0
      }
    }
  }()

  @Test(.enabled(if: hasVersion6, "the machine has no ::1")) func loopbackOfVersion6IsServed() async throws {
    try await withServer(listeners: [.tcp(host: "::1", port: 0)]) { _, _, bound in
      guard case .tcp("::1", let port) = bound[0] else {
        Issue.record("bound to \(bound[0])")
        return
      }
      let peer = try await ask("http://[::1]:\(port)", "/peer")
      #expect(peer.hasPrefix("[::1]:") && peer.hasSuffix(" false"))
      #expect(throws: ServerError.addressInUse("::1:\(port)")) {
        try HTTPServer(
          configuration: HTTPServerConfiguration(listeners: [.tcp(host: "::1", port: port)]),
          handler: TestHandler()
        ).start()
      }
    }
  }

  /// A full descriptor table stops accepting for a while and nothing else.
  @Test func fullDescriptorTableIsSurvived() async throws {
    try await withServer(loops: 1) { server, _, bound in
      // The clients' sockets are there before the table gets its bound.
      let clients = (0..<48).map { _ in RawClient() }
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let next = dup(0)
      close(next)
      var low = rlimit(rlim_cur: rlim_t(next + 8), rlim_max: limit.rlim_max)
      #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &low) == 0)
      defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
      for client in clients {
        client.connect(to: bound[0])
        client.say("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
      }
      // Those that fit are kept open by their clients: the others wait.
      let first = try await blocking { clients[0].hear(until: "hello") }
      #expect(first.hasSuffix("hello"))
      #expect(await eventually { server.metrics.requests == server.metrics.acceptedConnections })
      #expect(server.metrics.acceptedConnections <= 8)
      // Each that leaves makes room for one that waits.
      try await blocking {
        clients[0].finishWriting()
        for client in clients.dropFirst() {
          let heard = client.hear(until: "hello")
          #expect(heard.hasPrefix("HTTP/1.1 200 OK") && heard.hasSuffix("hello"))
          client.finishWriting()
        }
      }
      #expect(server.metrics.acceptedConnections == clients.count)
      #expect(server.metrics.refusedConnections == 0)
    }
  }

  @Test func slowReaderOverTLSHoldsTheProducerAndLosesNothing() async throws {
    let pair = try SelfSigned.make()
    try await withServer(tls: pair.configuration) { server, handler, bound in
      let deadline = Deadline(after: .seconds(120))
      let connection = try ClientConnection(
        Endpoint("https://\(bound[0])"), trust: .authorityFile(pair.certificate), deadline: deadline)
      try connection.send(Array("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n".utf8)[...], deadline: deadline)
      await handler.started.wait()
      #expect(await settles { server.metrics.bytesSent })
      let held = handler.written.load(ordering: .relaxed)
      #expect(held < 32 << 20)
      // A reader that goes on finds every byte, record after record of a buffer that moved meanwhile.
      var parser = ResponseParser(method: .get, limits: HTTPLimits())
      var letters = 0
      while letters < held + (4 << 20) {
        switch try parser.next() {
        case .head(let head): #expect(head.status == 200)
        case .body(let bytes):
          #expect(bytes.allSatisfy { $0 == 65 })
          letters += bytes.count
        case .end: Issue.record("the stream ended")
        case .needMore: parser.append(try connection.receive(deadline: deadline))
        }
      }
      #expect(handler.written.load(ordering: .relaxed) > held)
      #expect(server.metrics.openConnections == 1 && server.metrics.timeouts == 0)
    }
  }

  /// TLS writes a record at a time, and a socket that has room reports nothing.
  @Test(arguments: [40_000, 60_000, 200_000]) func answersOfManyRecordsComeWhole(_ bytes: Int) async throws {
    let pair = try SelfSigned.make()
    try await withServer(tls: pair.configuration) { _, _, bound in
      try await blocking {
        let client = try HTTPClient(url: "https://\(bound[0])", trust: .authorityFile(pair.certificate))
        let body = (0..<bytes).map { UInt8(truncatingIfNeeded: 65 + $0 % 26) }
        for _ in 0..<3 { #expect(try client.send(.post, "/echo", body: body).body == body) }
      }
    }
  }

  @Test func readerOverTLSThatTakesNothingIsLetGo() async throws {
    let pair = try SelfSigned.make()
    var limits = HTTPLimits()
    limits.writeTime = .milliseconds(50)
    try await withServer(tls: pair.configuration, limits: limits) { server, handler, bound in
      let deadline = Deadline(after: .seconds(120))
      let connection = try ClientConnection(
        Endpoint("https://\(bound[0])"), trust: .authorityFile(pair.certificate), deadline: deadline)
      try connection.send(Array("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n".utf8)[...], deadline: deadline)
      await handler.started.wait()
      #expect(await eventually { server.metrics.openConnections == 0 })
      #expect(server.metrics.timeouts == 1)
      withExtendedLifetime(connection) {}
    }
  }

  @Test func clientThatStopsInTheHandshakeIsLetGo() async throws {
    let pair = try SelfSigned.make()
    var limits = HTTPLimits()
    limits.headTime = .milliseconds(50)
    try await withServer(tls: pair.configuration, limits: limits) { server, _, bound in
      let client = RawClient(bound[0])
      client.say([0x16, 0x03, 0x01])
      let heard = try await blocking { client.hear() }
      #expect(heard == "")
      #expect(await eventually { server.metrics.openConnections == 0 })
      let text = try await ask("https://\(bound[0])", "/hello", trust: .authorityFile(pair.certificate))
      #expect(text == "hello")
    }
  }

  /// Whether a figure moved and then stays.
  private func settles(_ figure: () -> Int) async -> Bool {
    var last = -1
    return await eventually {
      let now = figure()
      defer { last = now }
      for _ in 0..<2_000 { await Task.yield() }
      return now > 0 && now == last
    }
  }
}

/// A key and a self-signed certificate for 127.0.0.1.
struct SelfSigned {
  let certificate: String
  let key: String

  var configuration: TLSConfiguration {
    TLSConfiguration(certificateChainPath: certificate, privateKeyPath: key)
  }

  static func make() throws -> SelfSigned {
    var template = Array("/tmp/corad-tls-XXXXXX".utf8CString)
    mkdtemp(&template)
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let pair = SelfSigned(certificate: "\(folder)/certificate.pem", key: "\(folder)/key.pem")
    let arguments = [
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
      "-days", "2", "-subj", "/CN=corad", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pair.key,
      "-out",
      pair.certificate,
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
    return pair
  }
}
