internal import ArgumentParser
internal import Foundation
internal import HTTPClient
internal import HTTPWire

/// Where the daemon is and how it is asked.
struct ClientOptions: ParsableArguments {
  @Option(help: "http://HOST:PORT, https://… or unix:PATH; CORAD_URL where it is not given.")
  var url: String?
  @Option(help: "File whose first line is the bearer key.")
  var apiKeyFile: String?
  @Option(help: "PEM file of the authorities to believe, for https.")
  var ca: String?
  @Option(help: "Seconds that an answer may take.")
  var timeout = 60
  @Flag(help: "Print the daemon's JSON as it came.")
  var json = false

  func daemon() throws -> Daemon {
    let address = url ?? ProcessInfo.processInfo.environment["CORAD_URL"] ?? "http://127.0.0.1:8080"
    var fields = [("User-Agent", "corad/\(Version.text)")]
    if let apiKeyFile { fields.append(("Authorization", "Bearer \(try Secret.read(apiKeyFile))")) }
    do throws(ClientError) {
      return Daemon(
        http: try HTTPClient(
          url: address, trust: ca.map { .authorityFile($0) } ?? .system, timeout: .seconds(timeout),
          fields: fields), address: address)
    } catch {
      throw Daemon.failure(error, address)
    }
  }
}

/// A key in a file, so that it is in no list of processes.
enum Secret {
  /// - Throws: `ConfigurationFault` where the file cannot be read or its first line is empty.
  static func read(_ path: String) throws -> String {
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw ConfigurationFault(key: "api_key_file", detail: "cannot be read: \(path)")
    }
    let line = bytes.prefix { $0 != 0x0a && $0 != 0x0d }
    guard !line.isEmpty else {
      throw ConfigurationFault(key: "api_key_file", detail: "has an empty first line: \(path)")
    }
    return String(decoding: line, as: UTF8.self)
  }
}

/// Requests whose refusals end the command, each with its exit code.
struct Daemon {
  let http: HTTPClient
  let address: String

  /// - Throws: an exit code; what is wrong has been printed.
  func send(
    _ method: HTTPMethod, _ path: String, fields: [(String, String)] = [], body: [UInt8]? = nil
  ) throws -> ClientResponse {
    let all = body == nil ? fields : fields + [("Content-Type", "application/json")]
    do throws(ClientError) {
      return try checked(try http.send(method, path, fields: all, body: body))
    } catch {
      throw Self.failure(error, address)
    }
  }

  func get(_ path: String) throws -> ClientResponse { try send(.get, path) }

  func post(_ path: String, _ body: JSON? = nil) throws -> ClientResponse {
    try send(.post, path, body: try body?.encoded())
  }

  /// Streams a file's bytes.
  ///
  /// - Throws: an exit code as `send` does, and what `next` throws.
  func upload(_ path: String, type: String, next: () throws -> [UInt8]?) throws -> ClientResponse {
    do {
      return try checked(try http.upload(.post, path, fields: [("Content-Type", type)], next: next))
    } catch let error as ClientError {
      throw Self.failure(error, address)
    }
  }

  /// All pages of a list.
  func items(_ path: String) throws -> [JSON] {
    var items: [JSON] = []
    var after: String?
    repeat {
      let query = after.map { "&after=\(Self.escaped($0))" } ?? ""
      let page = try JSON(bytes: get(path + (path.contains("?") ? "&" : "?") + "limit=100" + query).body)
      items += page["items"]?.array ?? []
      after = page["next"]?.string
    } while after != nil
    return items
  }

  static func escaped(_ text: String) -> String {
    let plain = CharacterSet(charactersIn: "-._~").union(.alphanumerics)
    return text.addingPercentEncoding(withAllowedCharacters: plain) ?? text
  }

  /// The answer, or its refusal.
  func checked(_ response: ClientResponse) throws(ClientError) -> ClientResponse {
    if response.status >= 400 { throw .refusedStream(status: response.status, body: response.body) }
    return response
  }

  /// Prints what is wrong and gives the exit code.
  static func failure(_ error: ClientError, _ address: String) -> ExitCode {
    switch error {
    case .invalidURL(let url):
      Terminal.complain("corad: \(url) is no http, https or unix URL")
      return Exit.usage
    case .refusedStream(let status, let body):
      Terminal.complain("corad: " + problem(status, body))
      return status < 500 ? Exit.refused : Exit.failed
    case .unresolvedHost(let host): Terminal.complain("corad: no address for \(host)")
    case .unreachable(_, let code):
      Terminal.complain("corad: nobody answers at \(address): \(String(cString: strerror(code)))")
    case .timeout: Terminal.complain("corad: no answer in time from \(address)")
    case .connectionLost: Terminal.complain("corad: the connection to \(address) was lost")
    case .tls(let reason): Terminal.complain("corad: TLS with \(address): \(reason)")
    case .malformedAnswer:
      Terminal.complain("corad: \(address) does not speak HTTP")
      return Exit.failed
    }
    return Exit.unreachable
  }

  /// Title, detail and code, and a line for each refused field.
  static func problem(_ status: Int, _ body: [UInt8]) -> String {
    guard let problem = try? JSON(bytes: body), let title = problem["title"]?.string else {
      return "the daemon answered \(status)"
    }
    var lines = [title + (problem["code"].map { " (\($0.text))" } ?? "")]
    if let detail = problem["detail"]?.string { lines.append("  " + detail) }
    for field in problem["errors"]?.array ?? [] {
      let pointer = field["pointer"]?.string ?? ""
      let allowed = field["allowed"].map { "; allowed: \($0.text)" } ?? ""
      lines.append("  \(pointer.isEmpty ? "(body)" : pointer): \(field["detail"]?.text ?? "")\(allowed)")
    }
    if let request = problem["request_id"]?.string { lines.append("  request \(request)") }
    return lines.joined(separator: "\n")
  }
}
