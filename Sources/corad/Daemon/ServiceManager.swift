internal import Foundation
internal import Glibc

/// What the service manager is told (sd_notify(3)): datagrams to the socket in NOTIFY_SOCKET, where there is one.
struct ServiceManager: Sendable {
  private let path: String?
  /// Half of what the watchdog allows; nil where there is none.
  let watchdogInterval: Duration?

  init(environment: [String: String]) {
    path = environment["NOTIFY_SOCKET"]
    let isOurs = environment["WATCHDOG_PID"].map { $0 == "\(getpid())" } ?? true
    watchdogInterval =
      isOurs
      ? environment["WATCHDOG_USEC"].flatMap { Int($0) }.map { .microseconds($0 / 2) } : nil
  }

  func tell(_ state: String) {
    guard let path, let first = path.utf8.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@")
    else {
      return
    }
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var name = Array(path.utf8)
    // The abstract namespace is written with @ and starts with a zero byte.
    if first == UInt8(ascii: "@") { name[0] = 0 }
    let capacity = MemoryLayout.size(ofValue: address.sun_path)
    guard name.count < capacity else { return }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
    let bytes = Array(state.utf8)
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        _ = sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), address, length)
      }
    }
  }
}
