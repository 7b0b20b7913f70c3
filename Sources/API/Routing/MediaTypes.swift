internal import HTTPWire

/// Content-Type and Accept.
enum MediaTypes {
  static let json = "application/json"
  static let octets = "application/octet-stream"
  static let ndjson = "application/x-ndjson"
  static let csv = "text/csv"
  static let events = "text/event-stream"
  static let form = "multipart/form-data"

  /// The body's type without its parameters, in lower case.
  static func ofBody(_ head: HTTPRequestHead) -> String? {
    if head.fields.isSingle("content-type", json) { return json }
    guard let value = head.fields.single("content-type") else { return nil }
    return trimmed(value.split(separator: ";", omittingEmptySubsequences: false)[0]).lowercased()
  }

  /// The offer that Accept likes best (RFC 9110 §12.5.1), the first among equals; nil where it takes none.
  static func best(of offers: [String], for head: HTTPRequestHead) -> String? {
    guard head.fields.contains("accept"), !head.fields.isSingle("accept", "*/*") else { return offers.first }
    let values = head.fields.values(for: "accept")
    let ranges = values.flatMap { $0.split(separator: ",") }.map(Self.range)
    var best: (offer: String, quality: Double)?
    for offer in offers {
      let kind = offer.prefix { $0 != "/" } + "/*"
      let match =
        ranges.last { $0.name == offer } ?? ranges.last { $0.name == kind }
        ?? ranges.last { $0.name == "*/*" }
      if let quality = match?.quality, quality > 0, quality > best?.quality ?? 0 { best = (offer, quality) }
    }
    return best?.offer
  }

  private static func range(_ text: Substring) -> (name: String, quality: Double) {
    let parts = text.split(separator: ";", omittingEmptySubsequences: false)
    var quality = 1.0
    for part in parts.dropFirst() {
      let pair = part.split(separator: "=", maxSplits: 1)
      if pair.count == 2, trimmed(pair[0]).lowercased() == "q" { quality = Double(trimmed(pair[1])) ?? 0 }
    }
    return (trimmed(parts.first ?? "").lowercased(), quality)
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return text.drop { $0 == " " || $0 == "\t" }
  }
}
