import DaemonSupport
import Foundation
import HTTPClient
import HTTPWire

/// A real nginx with the shipped site, a child with a folder of its own. Only addresses and paths are put in.
final class Nginx: Sendable {
  static let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx", "/usr/local/bin/nginx"]
    .first { FileManager.default.isExecutableFile(atPath: $0) }

  static let site = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Deploy/nginx/corad.conf").path

  let url: String
  private let process: Process
  private let folder: TemporaryFolder

  /// - Parameter upstream: `HOST:PORT` or `unix:PATH`.
  static func start(upstream: String) async throws -> Nginx {
    guard let program else { throw LiveDaemon.Failure(description: "there is no nginx on this machine") }
    // The port is free when it is picked and may be taken when nginx binds it.
    var last = ""
    for _ in 0..<5 {
      let nginx = try Nginx(program, upstream: upstream, port: try freePort())
      let isUp = await eventually(seconds: 20) { nginx.answers || !nginx.process.isRunning }
      if isUp, nginx.process.isRunning { return nginx }
      last = nginx.errors
    }
    throw LiveDaemon.Failure(description: "nginx does not start: \(last)")
  }

  private init(_ program: String, upstream: String, port: UInt16) throws {
    folder = try TemporaryFolder()
    url = "http://127.0.0.1:\(port)"
    let path = folder.path
    let site = try Self.substituted(
      String(contentsOfFile: Self.site, encoding: .utf8), upstream: upstream, listen: "127.0.0.1:\(port)")
    try site.write(toFile: path + "/site.conf", atomically: true, encoding: .utf8)
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { name in
      "\(name)_temp_path \(path)/\(name);"
    }
    // One process, so that nobody is left behind it; as root it stays root, for the socket's sake.
    let main = """
      daemon off;
      master_process off;
      pid \(path)/nginx.pid;
      error_log \(path)/error.log info;
      \(geteuid() == 0 ? "user root;" : "")
      events { worker_connections 256; }
      http {
        access_log \(path)/access.log;
        \(temporary.joined(separator: "\n  "))
        include \(path)/site.conf;
      }
      """
    try main.write(toFile: path + "/nginx.conf", atomically: true, encoding: .utf8)
    process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = ["-p", path, "-c", path + "/nginx.conf", "-e", path + "/error.log"]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
  }

  deinit {
    if process.isRunning {
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
  }

  /// What nginx complained of.
  var errors: String { (try? String(contentsOfFile: folder.path + "/error.log", encoding: .utf8)) ?? "" }

  private var answers: Bool {
    guard let client = try? HTTPClient(url: url, timeout: .seconds(5)) else { return false }
    return (try? client.send(.get, "/livez")) != nil
  }

  /// The shipped site with another upstream and listener; each stands in it once.
  static func substituted(_ site: String, upstream: String, listen: String) throws -> String {
    var text = site
    for (shipped, wanted) in [
      ("server corad:8080;", "server \(upstream);"), ("listen 80;", "listen \(listen);"),
    ] {
      guard text.components(separatedBy: shipped).count == 2 else {
        throw LiveDaemon.Failure(description: "the site does not have \"\(shipped)\" once")
      }
      text = text.replacingOccurrences(of: shipped, with: wanted)
    }
    return text
  }

  private static func freePort() throws -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let found = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    guard found else { throw LiveDaemon.Failure(description: "no free port") }
    return UInt16(bigEndian: address.sin_port)
  }
}
