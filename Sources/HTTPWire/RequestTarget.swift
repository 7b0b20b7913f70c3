/// The parts of a request target (RFC 9112 §3.2); indices are the slice's own.
struct RequestTarget {
  var path: Range<Int>
  var query: Range<Int>
  var authority: Range<Int>?

  /// Accepts origin-form, absolute-form of http and https, and `*` for OPTIONS. Ranges count from the slice's start.
  init(_ target: ArraySlice<UInt8>, method: HTTPMethod, offset: Int) throws(WireError) {
    let bytes = Array(target)
    if method.name == "CONNECT" { throw .notImplemented(.method, offset: 0) }
    var pathStart = 0
    if bytes.first == UInt8(ascii: "/") {
      authority = nil
    } else if bytes == [UInt8(ascii: "*")] {
      guard method == .options else { throw .malformed(.target, offset: offset) }
      authority = nil
    } else if let start = RequestTarget.authorityStart(bytes) {
      let end =
        bytes[start...].firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? bytes.count
      guard start < end, bytes[start..<end].allSatisfy(ByteClass.host.contains) else {
        throw .malformed(.target, offset: offset + start)
      }
      authority = start..<end
      pathStart = end
    } else {
      throw .malformed(.target, offset: offset)
    }
    let mark = bytes[pathStart...].firstIndex(of: UInt8(ascii: "?")) ?? bytes.count
    path = pathStart..<mark
    query = min(mark + 1, bytes.count)..<bytes.count
    try RequestTarget.checkEscapes(bytes, offset: offset)
  }

  private static func authorityStart(_ bytes: [UInt8]) -> Int? {
    for scheme in ["http://", "https://"] where bytes.count > scheme.utf8.count {
      if HTTPFields.equal(bytes[..<scheme.utf8.count], scheme) { return scheme.utf8.count }
    }
    return nil
  }

  /// Every `%` is followed by two hex digits, decodes to no NUL, and the whole decodes to UTF-8.
  private static func checkEscapes(_ bytes: [UInt8], offset: Int) throws(WireError) {
    guard var index = bytes.firstIndex(of: UInt8(ascii: "%")) else { return }
    var decoded = Array(bytes[..<index])
    while index < bytes.count {
      guard bytes[index] == UInt8(ascii: "%") else {
        decoded.append(bytes[index])
        index += 1
        continue
      }
      guard index + 2 < bytes.count, let high = ByteClass.hexValue(bytes[index + 1]),
        let low = ByteClass.hexValue(bytes[index + 2]), high | low != 0
      else { throw .malformed(.targetEscape, offset: offset + index) }
      decoded.append(high << 4 | low)
      index += 3
    }
    if String(validating: decoded, as: UTF8.self) == nil { throw .malformed(.targetEncoding, offset: offset) }
  }

  /// Decodes a part whose escapes were checked.
  static func decoded(_ part: ArraySlice<UInt8>, plusIsSpace: Bool) -> String {
    let plus = UInt8(ascii: "+")
    guard part.contains(where: { $0 == UInt8(ascii: "%") || (plusIsSpace && $0 == plus) }) else {
      return String(decoding: part, as: UTF8.self)
    }
    var decoded: [UInt8] = []
    decoded.reserveCapacity(part.count)
    var index = part.startIndex
    while index < part.endIndex {
      let byte = part[index]
      if byte == UInt8(ascii: "%"), index + 2 < part.endIndex, let high = ByteClass.hexValue(part[index + 1]),
        let low = ByteClass.hexValue(part[index + 2])
      {
        decoded.append(high << 4 | low)
        index += 3
      } else {
        decoded.append(plusIsSpace && byte == plus ? space : byte)
        index += 1
      }
    }
    return String(decoding: decoded, as: UTF8.self)
  }
}
