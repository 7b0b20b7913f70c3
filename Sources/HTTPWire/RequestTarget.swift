/// The parts of a request target (RFC 9112 §3.2), as ranges of the bytes it was found in.
struct RequestTarget {
  var path: Range<Int>
  var query: Range<Int>
  var authority: Range<Int>?

  /// Accepts origin-form, absolute-form of http and https, and `*` for OPTIONS.
  init(_ bytes: [UInt8], _ target: Range<Int>, method: HTTPMethod) throws(WireError) {
    if method.name == "CONNECT" { throw .notImplemented(.method, offset: 0) }
    let part = bytes[target]
    var pathStart = part.startIndex
    if part.first == UInt8(ascii: "/") {
      authority = nil
    } else if part.first == UInt8(ascii: "*"), part.count == 1 {
      guard method == .options else { throw .malformed(.target, offset: part.startIndex) }
      authority = nil
    } else if let start = RequestTarget.authorityStart(part) {
      let end =
        part[start...].firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? part.endIndex
      guard start < end, part[start..<end].allSatisfy(ByteClass.host.contains) else {
        throw .malformed(.target, offset: start)
      }
      authority = start..<end
      pathStart = end
    } else {
      throw .malformed(.target, offset: part.startIndex)
    }
    let mark = part[pathStart...].firstIndex(of: UInt8(ascii: "?")) ?? part.endIndex
    path = pathStart..<mark
    query = min(mark + 1, part.endIndex)..<part.endIndex
    if part.contains(UInt8(ascii: "%")) { try RequestTarget.checkEscapes(part) }
  }

  private static func authorityStart(_ target: ArraySlice<UInt8>) -> Int? {
    for scheme in ["http://", "https://"] where target.count > scheme.utf8.count {
      if HTTPFields.equal(target.prefix(scheme.utf8.count), scheme) {
        return target.startIndex + scheme.utf8.count
      }
    }
    return nil
  }

  /// Every `%` is followed by two hex digits, decodes to no NUL, and the whole decodes to UTF-8.
  private static func checkEscapes(_ target: ArraySlice<UInt8>) throws(WireError) {
    var index = target.startIndex
    var decoded: [UInt8] = []
    while index < target.endIndex {
      guard target[index] == UInt8(ascii: "%") else {
        decoded.append(target[index])
        index += 1
        continue
      }
      guard index + 2 < target.endIndex, let high = ByteClass.hexValue(target[index + 1]),
        let low = ByteClass.hexValue(target[index + 2]), high | low != 0
      else { throw .malformed(.targetEscape, offset: index) }
      decoded.append(high << 4 | low)
      index += 3
    }
    if String(validating: decoded, as: UTF8.self) == nil {
      throw .malformed(.targetEncoding, offset: target.startIndex)
    }
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
