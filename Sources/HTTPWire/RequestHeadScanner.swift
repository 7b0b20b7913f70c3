/// Request line and fields as a state machine over bytes that start at index 0; positions are message offsets.
struct RequestHeadScanner: Sendable {
  private enum State { case start, startEnd, method, target, version, lineEnd, fields }

  // RFC 9112 §3: a method longer than any implemented one gets 501.
  private static let methodBytes = 32

  private var state = State.start
  private var position = 0
  private var methodRange = 0..<0
  private var targetRange = 0..<0
  private var mark = 0
  private var major: UInt8 = 0
  private var minor: UInt8 = 0
  private var fields: FieldSectionParser
  private let limits: HTTPLimits

  init(limits: HTTPLimits) {
    self.limits = limits
    fields = FieldSectionParser(limit: limits.fields)
  }

  /// Whether any byte of a request was seen (an empty line before it is none).
  var hasBegun: Bool { state != .start && state != .startEnd }

  /// Bytes of the finished head.
  var length: Int { position }

  /// Goes on from where it stopped; true when the head is complete.
  mutating func scan(_ bytes: Span<UInt8>) throws(WireError) -> Bool {
    let end = min(bytes.count, limits.headBytes)
    while position < end {
      if state == .fields {
        if try fields.parse(bytes, at: &position, upTo: end) { return true }
        break
      }
      try line(bytes, end)
    }
    if bytes.count >= limits.headBytes { throw .headTooLarge(limitBytes: limits.headBytes) }
    return false
  }

  private mutating func line(_ bytes: Span<UInt8>, _ end: Int) throws(WireError) {
    let byte = bytes[position]
    switch state {
    case .start:
      // RFC 9112 §2.2: one empty line before a request is ignored.
      if byte == carriageReturn, position == 0 {
        state = .startEnd
        position += 1
      } else {
        mark = position
        state = .method
      }
    case .startEnd:
      guard byte == lineFeed else { throw .malformed(.bareCarriageReturn, offset: 0) }
      state = .start
      position += 1
    case .method:
      while position < end, ByteClass.token.contains(bytes[position]) {
        if position - mark == RequestHeadScanner.methodBytes { throw .notImplemented(.method, offset: mark) }
        position += 1
      }
      guard position < end else { return }
      guard bytes[position] == space, position > mark else { throw .malformed(.method, offset: position) }
      methodRange = mark..<position
      position += 1
      mark = position
      state = .target
    case .target:
      while position < end, bytes[position] == UInt8(ascii: "%") || ByteClass.target.contains(bytes[position])
      {
        if position - mark == limits.targetBytes { throw .targetTooLong(limitBytes: limits.targetBytes) }
        position += 1
      }
      guard position < end else { return }
      guard bytes[position] == space, position > mark else { throw .malformed(.target, offset: position) }
      targetRange = mark..<position
      position += 1
      mark = position
      state = .version
    case .version:
      try version(byte)
    case .lineEnd:
      guard byte == lineFeed else { throw .malformed(.bareCarriageReturn, offset: position - 1) }
      guard major == 1 else { throw .unsupportedVersion(offset: mark) }
      position += 1
      state = .fields
    case .fields: break
    }
  }

  /// `HTTP/` DIGIT `.` DIGIT, then CR.
  private mutating func version(_ byte: UInt8) throws(WireError) {
    let fits: Bool
    switch position - mark {
    case 0: fits = byte == UInt8(ascii: "H")
    case 1, 2: fits = byte == UInt8(ascii: "T")
    case 3: fits = byte == UInt8(ascii: "P")
    case 4: fits = byte == UInt8(ascii: "/")
    case 5:
      fits = byte >= 0x30 && byte <= 0x39
      major = byte &- 0x30
    case 6: fits = byte == UInt8(ascii: ".")
    case 7:
      fits = byte >= 0x30 && byte <= 0x39
      minor = byte &- 0x30
    default:
      if byte == lineFeed { throw .malformed(.bareLineFeed, offset: position) }
      fits = byte == carriageReturn
      state = .lineEnd
    }
    guard fits else { throw .malformed(.version, offset: position) }
    position += 1
  }

  /// The head, from the bytes that `scan` found complete.
  func head(_ bytes: [UInt8]) throws(WireError) -> HTTPRequestHead {
    try HTTPRequestHead(
      method: HTTPMethod(String(decoding: bytes[methodRange], as: UTF8.self)),
      source: bytes, target: targetRange, fields: HTTPFields(bytes: bytes, entries: fields.entries),
      minorVersion: min(Int(minor), 1))
  }
}
