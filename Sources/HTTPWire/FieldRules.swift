/// What the fields of a request say about its framing and its connection; refuses what RFC 9112 wants refused.
struct FieldRules {
  var framing = HTTPRequestHead.BodyFraming.length(0)
  var isKeepAlive: Bool
  var expectsContinue = false

  init(_ fields: HTTPFields, minorVersion: Int) throws(WireError) {
    isKeepAlive = minorVersion > 0
    var hosts = 0
    var length: Int?
    var codings = 0
    var codingOffset = 0
    for entry in fields.table {
      let offset = Int(entry.nameStart)
      switch entry.nameEnd - entry.nameStart {
      case 4 where fields.matches(entry, "host"):
        hosts += 1
        if hosts > 1 { throw .malformed(.repeatedHost, offset: offset) }
        guard fields.value(entry).allSatisfy(ByteClass.host.contains) else {
          throw .malformed(.host, offset: Int(entry.valueStart))
        }
      case 6 where fields.matches(entry, "expect"):
        // An HTTP/1.0 client cannot mean it, RFC 9110 §10.1.1.
        guard minorVersion > 0 else { break }
        guard HTTPFields.equal(fields.value(entry), "100-continue") else { throw .expectationFailed }
        expectsContinue = true
      case 14 where fields.matches(entry, "content-length"):
        guard let value = FieldRules.decimal(fields.value(entry)) else {
          throw .malformed(.contentLength, offset: Int(entry.valueStart))
        }
        if let earlier = length, earlier != value {
          throw .malformed(.conflictingContentLength, offset: offset)
        }
        length = value
      case 17 where fields.matches(entry, "transfer-encoding"):
        codings += 1
        codingOffset = offset
        let value = fields.value(entry)
        if value.isEmpty || codings > 1 { throw .malformed(.transferEncoding, offset: offset) }
        guard HTTPFields.equal(value, "chunked") else {
          throw .notImplemented(.transferCoding, offset: Int(entry.valueStart))
        }
      default: break
      }
    }
    if minorVersion > 0, hosts == 0 { throw .malformed(.missingHost, offset: 0) }
    if codings > 0 {
      // RFC 9112 §6.1: a 1.0 message with a transfer coding has unclear framing.
      if minorVersion == 0 { throw .malformed(.transferEncoding, offset: codingOffset) }
      if length != nil { throw .malformed(.bothLengths, offset: codingOffset) }
      framing = .chunked
    } else if let length {
      framing = .length(length)
    }
    if fields.hasToken("close", in: "connection") {
      isKeepAlive = false
    } else if minorVersion == 0 {
      isKeepAlive = fields.hasToken("keep-alive", in: "connection")
    }
  }

  /// 1*DIGIT that fits an Int.
  static func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
    guard !digits.isEmpty else { return nil }
    var value = 0
    for digit in digits {
      guard digit >= 0x30, digit <= 0x39 else { return nil }
      let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = scaled.addingReportingOverflow(Int(digit - 0x30))
      if overflow || carry { return nil }
      value = sum
    }
    return value
  }
}
