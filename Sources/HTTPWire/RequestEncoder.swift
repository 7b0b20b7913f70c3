/// Requests as bytes, for clients.
public enum RequestEncoder {
  /// Head and body. `fields` hold neither Host nor Content-Length.
  public static func encode(
    _ method: HTTPMethod, target: String, host: String, fields: [(String, String)] = [], body: [UInt8]? = nil
  ) -> [UInt8] {
    var output: [UInt8] = []
    ResponseEncoder.clean(method.name, &output)
    output.append(space)
    ResponseEncoder.clean(target, &output)
    output.append(contentsOf: " HTTP/1.1\r\n".utf8)
    var all = [("Host", host)] + fields
    if let body { all.append(("Content-Length", String(body.count))) }
    for (name, value) in all {
      ResponseEncoder.clean(name, &output)
      output.append(contentsOf: ": ".utf8)
      ResponseEncoder.clean(value, &output)
      output.append(contentsOf: "\r\n".utf8)
    }
    output.append(contentsOf: "\r\n".utf8)
    if let body { output.append(contentsOf: body) }
    return output
  }

  /// Percent-encodes all but RFC 3986's unreserved characters: right for one path segment or one query part.
  public static func escaped(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var output: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: output.append(byte)
      default: output.append(contentsOf: [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]])
      }
    }
    return String(decoding: output, as: UTF8.self)
  }
}
