import Glibc
import HTTPClient
import HTTPServer
import HTTPWire
import Testing

@Suite struct ListenerTests {
  func server(_ listeners: [ListenAddress], loops: Int = 2) -> HTTPServer {
    HTTPServer(
      configuration: HTTPServerConfiguration(listeners: listeners, loops: loops), handler: TestHandler())
  }

  func temporaryPath() -> String {
    var template = Array("/tmp/corad-http-XXXXXX".utf8CString)
    mkdtemp(&template)
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/socket"
  }

  @Test func secondServerOnTheAddressIsRefused() async throws {
    try await withServer { _, _, bound in
      guard case .tcp(let host, let port) = bound[0] else { return }
      #expect(throws: ServerError.addressInUse("\(host):\(port)")) {
        try server([.tcp(host: host, port: port)]).start()
      }
      // The wildcard address overlaps.
      #expect(throws: ServerError.addressInUse("0.0.0.0:\(port)")) {
        try server([.tcp(host: "0.0.0.0", port: port)], loops: 1).start()
      }
      do {
        let text = try await ask("http://\(bound[0])", "/hello")
        #expect(text == "hello")
      }
    }
  }

  @Test func drainedAddressIsFreeAgain() async throws {
    let bound = try await withServer { _, _, bound in
      do {
        let text = try await ask("http://\(bound[0])", "/hello")
        #expect(text == "hello")
      }
      return bound
    }
    guard case .tcp(let host, let port) = bound[0] else { return }
    let again = server([.tcp(host: host, port: port)])
    #expect(try again.start() == bound)
    await again.drain(grace: .zero)
  }

  @Test func unixSocketServesAndIsRemoved() async throws {
    let path = temporaryPath()
    try await withServer(listeners: [.unix(path: path)]) { _, _, bound in
      #expect(bound == [.unix(path: path)])
      var status = stat()
      #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o660)
      do {
        let text = try await ask("unix:\(path)", "/peer")
        #expect(text == "unix false")
      }
      #expect(throws: ServerError.addressInUse("unix:\(path)")) { try server([.unix(path: path)]).start() }
    }
    #expect(access(path, F_OK) != 0)
  }

  @Test func staleUnixSocketIsReplacedAndAnyOtherFileKept() async throws {
    let path = temporaryPath()
    let stale = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(stale, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    #expect(result == 0)
    close(stale)
    let replacing = server([.unix(path: path)])
    #expect(try replacing.start() == [.unix(path: path)])
    await replacing.drain(grace: .zero)

    close(open(path, O_CREAT | O_WRONLY, 0o600))
    #expect(throws: ServerError.addressInUse("unix:\(path)")) { try server([.unix(path: path)]).start() }
    #expect(access(path, F_OK) == 0)
  }

  @Test func inheritedDescriptorIsServed() async throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #expect(throws: ServerError.notListening(descriptor: descriptor)) {
      try server([.descriptor(descriptor)]).start()
    }
    #expect(listen(descriptor, 8) == 0)
    try await withServer(listeners: [.descriptor(dup(descriptor))]) { _, _, bound in
      guard case .tcp(_, let port) = bound[0] else { return }
      do {
        let text = try await ask("http://127.0.0.1:\(port)", "/hello")
        #expect(text == "hello")
      }
    }
    close(descriptor)
  }

  @Test func addressesAreRead() {
    #expect(ListenAddress("127.0.0.1:80") == .tcp(host: "127.0.0.1", port: 80))
    #expect(ListenAddress("[::1]:0") == .tcp(host: "::1", port: 0))
    #expect(ListenAddress("unix:/run/corad.sock") == .unix(path: "/run/corad.sock"))
    for text in ["", ":80", "a", "a:", "a:+1", "a:65536", "::1:80", "unix:"] {
      #expect(ListenAddress(text) == nil)
    }
  }

  @Test func inheritedSocketsNeedOurProcess() {
    let environment = ["LISTEN_PID": "7", "LISTEN_FDS": "2"]
    #expect(
      ListenAddress.inherited(environment: environment, processID: 7) == [.descriptor(3), .descriptor(4)])
    #expect(ListenAddress.inherited(environment: environment, processID: 8) == [])
  }

  @Test func unknownHostAndLongPathAreNamed() {
    #expect(throws: ServerError.unresolvedHost("empty..label")) {
      try server([.tcp(host: "empty..label", port: 0)]).start()
    }
    let path = "/" + String(repeating: "a", count: 200)
    #expect(throws: ServerError.pathTooLong(path)) { try server([.unix(path: path)]).start() }
  }
}
