internal import HTTPWire

/// Who asks, as far as it can be believed; for the log alone.
enum ClientAddress {
  static func of(_ request: HTTPRequest, trusted: Set<String>) -> String {
    let peer = request.peer.description
    let address =
      switch request.peer {
      case .ip(let address, _): address
      case .unix: "unix"
      }
    guard trusted.contains(address) else { return peer }
    return forwarded(request.head.fields) ?? peer
  }

  /// The nearest hop's word: the last element (RFC 7239 §5.2, and the older field).
  private static func forwarded(_ fields: HTTPFields) -> String? {
    if let element = fields.values(for: "forwarded").last?.split(separator: ",").last {
      for pair in element.split(separator: ";") {
        let parts = pair.split(separator: "=", maxSplits: 1)
        if parts.count == 2, parts[0].drop(while: { $0 == " " }).lowercased() == "for" {
          return plain(parts[1].filter { $0 != "\"" })
        }
      }
    }
    guard let last = fields.values(for: "x-forwarded-for").last?.split(separator: ",").last else {
      return nil
    }
    return plain(last.filter { $0 != " " })
  }

  private static func plain(_ text: String) -> String? {
    let isPlain = text.utf8.allSatisfy { Names.isLetterOrDigit($0) || ".:[]_-".utf8.contains($0) }
    return isPlain && !text.isEmpty && text.utf8.count <= 64 ? text : nil
  }
}
