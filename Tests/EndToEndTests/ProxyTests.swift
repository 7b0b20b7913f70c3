import DaemonSupport
import Foundation
import HTTPClient
import HTTPWire
import Testing

/// Whole journeys through the shipped nginx site, over a unix socket and over TLS.
@Suite(.serialized) struct ProxyTests {
  /// How requests get to the daemon.
  enum Route: String, CaseIterable, Sendable {
    case nginx, unix, nginxToUnix, tls
  }

  /// A daemon and the way to it.
  struct Stand: Sendable {
    let daemon: LiveDaemon
    let nginx: Nginx?
    let url: String
    let trust: ClientTrust
    let folder: TemporaryFolder

    func client(timeout: Duration = .seconds(60)) throws -> HTTPClient {
      try HTTPClient(url: url, trust: trust, timeout: timeout)
    }

    func send(
      _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], body: String? = nil
    ) async throws -> Answer {
      try await blocking {
        try Answer(client().send(method, path, fields: fields, body: body.map { Array($0.utf8) }))
      }
    }

    /// A figure of the daemon, asked where no proxy stands between.
    func figure(_ name: String) async throws -> Double {
      let own = daemon.addresses[0]
      let trust = trust
      let text = try await blocking { try HTTPClient(url: own, trust: trust).send(.get, "/metrics").text }
      let line = text.split(separator: "\n").first { $0.hasPrefix(name + " ") }
      return line.flatMap { Double($0.dropFirst(name.count + 1)) } ?? .nan
    }
  }

  static func stand(_ route: Route, arguments: [String] = []) async throws -> Stand {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    try await FirstStart.shared.copy(to: store)
    var listen = ["127.0.0.1:0"]
    var arguments = arguments
    var trust = ClientTrust.system
    let socket = folder.path + "/corad.sock"
    switch route {
    case .nginx: break
    case .unix, .nginxToUnix: listen = ["unix:" + socket]
    case .tls:
      try Certificate.make(in: folder.path)
      arguments += ["--tls-certificate", folder.path + "/cert.pem", "--tls-key", folder.path + "/key.pem"]
      trust = .authorityFile(folder.path + "/cert.pem")
    }
    let daemon = try await LiveDaemon.start(
      store: store, folder: folder.path, listen: listen, arguments: arguments)
    var nginx: Nginx?
    switch route {
    case .nginx:
      nginx = try await Nginx.start(upstream: String(daemon.addresses[0].dropFirst("http://".count)))
    case .nginxToUnix: nginx = try await Nginx.start(upstream: "unix:" + socket)
    case .unix, .tls: break
    }
    return Stand(
      daemon: daemon, nginx: nginx, url: nginx?.url ?? daemon.addresses[0], trust: trust, folder: folder)
  }

  @Test(arguments: Route.allCases)
  func trainAndInferWithLiveEvents(route: Route) async throws {
    let stand = try await Self.stand(route)
    #expect(stand.url.hasPrefix(route == .tls ? "https://" : route == .unix ? "unix:" : "http://"))

    // A job far too long for this test: what is heard of it is heard while it runs.
    let started = try await stand.send(
      .post, "/train", fields: Self.json, body: Rows.training(task: "long", rows: 200, epochs: 500))
    #expect(started.status == 202, "\(started.text)")
    let path = try #require(started.fields.single("location"))
    let (steps, last) = try await blocking {
      var steps = 0
      let client = try stand.client()
      let last = try client.events(path + "/events") { event in
        if event.event == "step" { steps += 1 }
        return steps < 3
      }
      return (steps, last)
    }
    #expect(steps == 3)
    #expect(try await stand.send(.get, path).json["state"].string == "running")
    #expect(try await stand.send(.post, path + "/cancel").json["state"].string == "cancelled")
    // The stream goes on after the last event seen and ends with the job.
    let rest = try await blocking {
      var rest: [(id: Int, data: String)] = []
      try stand.client().events(path + "/events", lastEventID: last) { event in
        rest.append((event.id.flatMap { Int($0) } ?? -1, String(decoding: event.data, as: UTF8.self)))
        return true
      }
      return rest.map { "\($0.id) \($0.data)" }
    }
    let firstID = rest.first.flatMap { Int($0.prefix { $0 != " " }) }
    #expect(firstID == last.flatMap { Int($0) }.map { $0 + 1 })
    #expect(rest.last?.contains("cancelled") == true)

    let short = try await stand.send(
      .post, "/train", fields: Self.json, body: Rows.training(task: "animals", rows: 64, epochs: 8))
    let job = try #require(short.fields.single("location"))
    try await blocking { _ = try stand.client().events(job + "/events") { _ in true } }
    let done = try await stand.send(.get, job)
    #expect(done.json["state"].string == "succeeded", "\(done.text)")
    let answer = try await stand.send(
      .post, "/adapters/animals/infer", fields: Self.json,
      body: #"{"inputs": ["the cat sleeps on the sofa", "the engine of the car is loud"]}"#)
    #expect(answer.status == 200 && answer.json["version"].int == 1, "\(answer.text)")
    #expect(answer.json["predictions"].items.map { $0["label"].string } == ["animal", "machine"])
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test(arguments: Route.allCases)
  func twentyMegabytesOfRowsArriveAsTheyAreSent(route: Route) async throws {
    let stand = try await Self.stand(route)
    let (rows, size) = (20_000, 1_050)
    let pieces = 200
    // Half way, the daemon has to have most of what was sent: nobody on the way keeps it until the end.
    let half = HalfWay()
    async let arrived = half.check { try await stand.figure("corad_http_received_bytes_total") > 6_000_000 }
    let answer = try await blocking {
      var sent = 0
      return try Answer(
        stand.client(timeout: .seconds(300)).upload(
          .post, "/datasets?name=big&kind=classification", fields: [("Content-Type", "application/x-ndjson")]
        ) {
          if sent == pieces / 2 { half.wait() }
          if sent == pieces { return nil }
          defer { sent += 1 }
          return Rows.lines(sent * (rows / pieces)..<(sent + 1) * (rows / pieces), size: size)
        })
    }
    #expect(try await arrived)
    #expect(answer.status == 201 && answer.json["rows"].int == rows, "\(answer.text)")
    let path = try #require(answer.fields.single("location"))
    #expect(try await stand.send(.get, path).json["bytes"].double ?? 0 > 20_000_000)
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test(arguments: Route.allCases)
  func clientThatGoesAwayTakesItsRowsAlong(route: Route) async throws {
    let stand = try await Self.stand(route)
    let before = try await stand.send(.post, "/adapters/base/infer", fields: Self.json, body: Rows.neighbour)
    #expect(before.status == 200)
    let rows = 2_000
    // Minutes of work; the client leaves as soon as it has begun.
    let body = Rows.inference(rows: rows, words: 200)
    let left = try await blocking { () -> ClientError? in
      do throws(ClientError) {
        _ = try HTTPClient(url: stand.url, trust: stand.trust, timeout: .seconds(4)).send(
          .post, "/adapters/base/infer", fields: Self.json, body: Array(body.utf8))
        return nil
      } catch {
        return error
      }
    }
    #expect(left == .timeout)
    #expect(try await eventually { try await stand.figure("corad_http_abandoned_requests_total") == 1 })
    #expect(
      try await eventually {
        let queued = try await stand.figure("corad_rows_queued")
        let running = try await stand.figure("corad_rows_running")
        return queued + running == 0
      })
    let answered = try await stand.figure("corad_rows_answered_total")
    #expect(answered < Double(rows), "all rows were computed")
    // A neighbour gets the bytes that it got before.
    let after = try await stand.send(.post, "/adapters/base/infer", fields: Self.json, body: Rows.neighbour)
    #expect(after.status == 200 && after.json["embeddings"] == before.json["embeddings"])
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test(arguments: [Route.nginx, .nginxToUnix])
  func clientThatGoesAwayInTheMiddleOfAnUploadLeavesNothing(route: Route) async throws {
    let stand = try await Self.stand(route)
    do {
      let client = try #require(RawConnection(stand.url))
      client.say(
        "POST /datasets?name=half&kind=classification HTTP/1.1\r\nHost: a\r\n"
          + "Content-Type: application/x-ndjson\r\nContent-Length: 60000000\r\n\r\n")
      for start in stride(from: 0, to: 3_000, by: 100) {
        client.say(String(decoding: Rows.lines(start..<start + 100, size: 1_000), as: UTF8.self))
      }
      #expect(
        try await eventually { try await stand.figure("corad_http_received_bytes_total") > 2_000_000 })
      #expect(try await stand.figure("corad_http_abandoned_requests_total") == 0)
    }
    #expect(try await eventually { try await stand.figure("corad_http_abandoned_requests_total") == 1 })
    #expect(try await stand.send(.get, "/datasets").json["items"].items.isEmpty)
    #expect(await stand.daemon.terminate() == .exit(0))
    let store = stand.folder.path + "/store.sqlite"
    let healthy = try await blocking { try Command.corad(["doctor", "--store", store]) }
    #expect(healthy.status == 0, "\(healthy.output)")
  }

  @Test(arguments: [Route.nginx, .nginxToUnix])
  func refusalsOfTheDaemonPassTheProxy(route: Route) async throws {
    let stand = try await Self.stand(route, arguments: ["--body-bytes", "100000", "--log-level", "debug"])
    let large = try await blocking {
      var rest = 400
      return try Answer(
        stand.client().upload(
          .post, "/datasets?name=large&kind=classification",
          fields: [("Content-Type", "application/x-ndjson")]
        ) {
          rest -= 1
          return rest < 0 ? nil : Rows.lines(0..<10, size: 1_000)
        })
    }
    #expect(large.status == 413 && large.json["code"].string == "body-too-large", "\(large.text)")
    let unknown = try await stand.send(
      .post, "/adapters/none/infer", fields: Self.json + [("X-Request-Id", "client-7")], body: Rows.neighbour)
    #expect(unknown.status == 404 && unknown.json["code"].string == "task-not-found", "\(unknown.text)")
    // The client's own id goes through to the log.
    #expect(unknown.fields.single("x-request-id") == "client-7")
    #expect(unknown.json["request_id"].string == "client-7")
    // Figures are for the machine itself, which this client is on.
    #expect(try await stand.send(.get, "/metrics").status == 200)
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test func theClientsAddressIsBelievedFromATrustedProxyAlone() async throws {
    for (arguments, isBelieved) in [(["--trusted-proxy", "127.0.0.1"], true), ([], false)] {
      let stand = try await Self.stand(.nginx, arguments: arguments + ["--log-level", "debug"])
      _ = try await stand.send(
        .get, "/base", fields: [("X-Request-Id", "seen-1"), ("X-Forwarded-For", "203.0.113.9")])
      let line = try #require(stand.daemon.log.split(separator: "\n").first { $0.contains("seen-1") })
      // The proxy's own word comes last; what a client claims before it is not believed.
      #expect(line.contains(#""peer":"127.0.0.1""#) == isBelieved, "\(line)")
      #expect(!line.contains("203.0.113.9"))
      #expect(await stand.daemon.terminate() == .exit(0))
    }
  }

  @Test func everythingStandsUnderTheBasePath() async throws {
    let stand = try await Self.stand(.nginx, arguments: ["--base-path", "/models/corad"])
    #expect(try await stand.send(.get, "/readyz").status == 404)
    #expect(try await stand.send(.get, "/models/corad/readyz").status == 200)
    let client = try HTTPClient(url: stand.url + "/models/corad")
    let started = try Answer(
      client.send(
        .post, "/train", fields: Self.json,
        body: Array(Rows.training(task: "long", rows: 200, epochs: 500).utf8)))
    let path = try #require(started.fields.single("location"))
    #expect(path.hasPrefix("/models/corad/jobs/"))
    // The site's rule for event streams does not know the prefix; the answer's own field keeps them unbuffered.
    let steps = try await blocking {
      var steps = 0
      try HTTPClient(url: stand.url).events(path + "/events") { event in
        if event.event == "step" { steps += 1 }
        return steps < 2
      }
      return steps
    }
    #expect(steps == 2)
    #expect(try await stand.send(.get, path).json["state"].string == "running")
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  @Test func anotherCertificateIsNotBelieved() async throws {
    let stand = try await Self.stand(.tls)
    let other = try TemporaryFolder()
    try Certificate.make(in: other.path)
    for trust in [ClientTrust.system, .authorityFile(other.path + "/cert.pem")] {
      let error = try await blocking { () -> ClientError? in
        do throws(ClientError) {
          _ = try HTTPClient(url: stand.url, trust: trust).send(.get, "/livez")
          return nil
        } catch {
          return error
        }
      }
      guard case .tls = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    #expect(try await stand.send(.get, "/livez").status == 200)
    #expect(await stand.daemon.terminate() == .exit(0))
  }

  static let json = [("Content-Type", "application/json")]
}

/// A self-signed certificate for 127.0.0.1, made now.
enum Certificate {
  static func make(in folder: String) throws {
    let made = try Command.run([
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
      "-days",
      "2", "-subj", "/CN=corad test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout",
      folder + "/key.pem", "-out", folder + "/cert.pem",
    ])
    guard made.status == 0 else { throw LiveDaemon.Failure(description: "openssl: \(made.errors)") }
  }
}

/// Made-up rows.
enum Rows {
  static let neighbour = #"{"inputs": ["a neighbour's text"]}"#
  private static let animals = ["cat", "dog", "horse", "bird", "sheep", "mouse", "fox", "hen"]
  private static let machines = ["car", "engine", "motor", "drill", "pump", "crane", "lathe", "press"]
  private static let verbs = ["sleeps", "rests", "is seen", "stands", "waits", "is old", "is loud", "moves"]

  /// A request to train a task that tells animals from machines.
  static func training(task: String, rows: Int, epochs: Int) -> String {
    let examples = file(rows).split(separator: "\n")
    return """
      {"task": "\(task)", "epochs": \(epochs), "batch_size": 16, "validation": 0.25,
       "data": {"examples": [\(examples.joined(separator: ","))]}}
      """
  }

  private static func example(_ index: Int) -> (text: String, label: String) {
    let (words, label) = index % 2 == 0 ? (animals, "animal") : (machines, "machine")
    return ("the \(words[index / 2 % 8]) \(verbs[index / 16 % 8]) number \(index)", label)
  }

  /// A file of rows that tell animals from machines, as NDJSON.
  static func file(_ rows: Int) -> String {
    (0..<rows).map { index in
      let (text, label) = example(index)
      return #"{"text": "\#(text)", "label": "\#(label)"}"# + "\n"
    }.joined()
  }

  /// The same as CSV.
  static func table(_ rows: Int) -> String {
    "text,label\n" + (0..<rows).map { "\(example($0).text),\(example($0).label)\n" }.joined()
  }

  /// Lines of NDJSON of so many bytes each.
  static func lines(_ range: Range<Int>, size: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count * size)
    for index in range {
      let start = #"{"label": "\#(index % 2 == 0 ? "even" : "odd")", "text": "row \#(index) "#
      bytes += Array(start.utf8)
      bytes += [UInt8](repeating: UInt8(ascii: "x"), count: max(0, size - start.utf8.count - 3))
      bytes += Array("\"}\n".utf8)
    }
    return bytes
  }

  static func inference(rows: Int, words: Int) -> String {
    let text = Array(repeating: "word", count: words).joined(separator: " ")
    return #"{"inputs": ["# + Array(repeating: "\"\(text)\"", count: rows).joined(separator: ",") + "]}"
  }
}

/// Holds a blocking sender until an asynchronous check has seen what was sent.
final class HalfWay: Sendable {
  private let isReached = DispatchSemaphore(value: 0)
  private let mayGoOn = DispatchSemaphore(value: 0)

  func wait() {
    isReached.signal()
    mayGoOn.wait()
  }

  func check(_ condition: @Sendable () async throws -> Bool) async throws -> Bool {
    defer { mayGoOn.signal() }
    try await blocking { [isReached] in isReached.wait() }
    return try await eventually(seconds: 120, condition)
  }
}
