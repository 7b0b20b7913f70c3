import Foundation
import Glibc

/// A plain TCP connection that says and hears bytes; reads give up after a minute.
final class RawConnection: Sendable {
  private let descriptor: Int32

  /// nil where nobody accepts.
  init?(_ url: String) {
    guard let port = url.split(separator: ":").last.flatMap({ UInt16($0) }) else { return nil }
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if result != 0 { return nil }
  }

  deinit { close(descriptor) }

  func say(_ text: String) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count <= 0 { return }
      rest = rest.dropFirst(count)
    }
  }

  /// Up to the first bytes that hold `part`, or to the end of the connection.
  func hear(until part: String? = nil) -> String {
    var heard: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      if let part, String(decoding: heard, as: UTF8.self).contains(part) { break }
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count <= 0 { break }
      heard += buffer[..<count]
    }
    return String(decoding: heard, as: UTF8.self)
  }
}
