/// The head of one part of a form.
public struct MultipartPart: Sendable {
  /// The form field's name.
  public let name: String
  /// As the client gave it; never a path of ours.
  public let fileName: String?
  public let fields: HTTPFields
}

/// The parts of a `multipart/form-data` body (RFC 7578, RFC 2046 §5.1), however the body is cut. It holds one part's head
/// or the length of a delimiter, never a part's content.
public struct MultipartParser: Sendable {
  /// Bounds on what frames the content; the content's own is the caller's.
  public struct Limits: Sendable, Equatable {
    public var parts = 16
    /// Bytes of a part's head, its empty line included.
    public var headBytes = 4 << 10
    /// Field lines of a part's head.
    public var fields = 8
    /// Bytes before the first delimiter.
    public var preambleBytes = 4 << 10
    /// Blanks behind a delimiter.
    public var paddingBytes = 64

    public init() {}
  }

  public enum Event: Sendable {
    case needMore
    case part(MultipartPart)
    /// A piece of the part's content.
    case content([UInt8])
    case endOfPart
    /// The last delimiter was read; what follows it is thrown away.
    case end
  }

  private enum State { case preamble, content, delimiterEnd, secondDash, padding, lineFeed, head, end }

  private let delimiter: [UInt8]
  private let limits: Limits
  private var state = State.preamble
  /// A line break is taken to stand before the body, because one stands before every delimiter.
  private var buffer: [UInt8] = [carriageReturn, lineFeed]
  private var index = 0
  /// Of the buffer's first byte in the body.
  private var offset = -2
  private var preamble = -2
  private var padding = 0
  private var parts = 0
  private var head: [UInt8] = []
  private var headStart = 0
  private var headPosition = 0
  private var section: FieldSectionParser

  /// - Parameter boundary: as `boundary(of:)` gives it.
  public init(boundary: String, limits: Limits = Limits()) {
    delimiter = [carriageReturn, lineFeed, UInt8(ascii: "-"), UInt8(ascii: "-")] + Array(boundary.utf8)
    self.limits = limits
    section = FieldSectionParser(limit: limits.fields)
  }

  public mutating func append(_ bytes: [UInt8]) {
    if state == .end { return }
    if index > 0 {
      buffer.removeFirst(index)
      offset += index
      index = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// The body has ended.
  ///
  /// - Throws: `.malformed` where its last delimiter is missing.
  public func finish() throws(WireError) {
    if state != .end { throw .malformed(.truncatedParts, offset: max(0, offset + buffer.count)) }
  }

  /// - Throws: `.malformed` alone, with the offset in the body.
  public mutating func next() throws(WireError) -> Event {
    while true {
      switch state {
      case .end: return .end
      case .preamble, .content:
        if let event = try scan() { return event }
      case .head:
        guard let part = try readHead() else { return .needMore }
        return .part(part)
      case .delimiterEnd, .secondDash, .padding, .lineFeed:
        guard index < buffer.count else { return .needMore }
        if try take(buffer[index]) { return .end }
      }
    }
  }

  /// Content up to the next delimiter, or up to what may be the beginning of one; nil where the state has changed.
  private mutating func scan() throws(WireError) -> Event? {
    let (end, isWhole) = nextDelimiter()
    if state == .preamble {
      preamble += end - index
      index = end
      if preamble > limits.preambleBytes {
        throw .malformed(.missingDelimiter, offset: limits.preambleBytes)
      }
    } else if end > index {
      defer { index = end }
      return .content(Array(buffer[index..<end]))
    }
    guard isWhole else { return .needMore }
    index += delimiter.count
    defer { state = .delimiterEnd }
    return state == .content ? .endOfPart : nil
  }

  /// Where the next delimiter begins, and whether all of it is there. It has one CR, its first byte, so that a search goes
  /// on behind whatever did not match.
  private func nextDelimiter() -> (start: Int, isWhole: Bool) {
    buffer.withUnsafeBufferPointer { bytes in
      var at = index
      while at < bytes.count {
        guard bytes[at] == carriageReturn else {
          at += 1
          continue
        }
        var matched = 1
        while matched < delimiter.count, at + matched < bytes.count, bytes[at + matched] == delimiter[matched]
        {
          matched += 1
        }
        if matched == delimiter.count { return (at, true) }
        if at + matched == bytes.count { return (at, false) }
        at += matched
      }
      return (at, false)
    }
  }

  /// One byte behind a delimiter; true at the end of all parts.
  private mutating func take(_ byte: UInt8) throws(WireError) -> Bool {
    switch (state, byte) {
    case (.delimiterEnd, UInt8(ascii: "-")): state = .secondDash
    case (.secondDash, UInt8(ascii: "-")):
      state = .end
      buffer = []
      return true
    case (.delimiterEnd, carriageReturn), (.padding, carriageReturn): state = .lineFeed
    case (.delimiterEnd, space), (.delimiterEnd, 0x09), (.padding, space), (.padding, 0x09):
      state = .padding
      padding += 1
      if padding > limits.paddingBytes { throw .malformed(.partDelimiter, offset: offset + index) }
    case (.lineFeed, lineFeed):
      parts += 1
      if parts > limits.parts { throw .malformed(.tooManyParts, offset: offset + index) }
      state = .head
      padding = 0
      head = []
      headStart = offset + index + 1
      headPosition = 0
      section = FieldSectionParser(limit: limits.fields)
    default: throw .malformed(.partDelimiter, offset: offset + index)
    }
    index += 1
    return false
  }

  private mutating func readHead() throws(WireError) -> MultipartPart? {
    let count = min(buffer.count - index, limits.headBytes - head.count)
    let before = head.count
    head.append(contentsOf: buffer[index..<index + count])
    let bytes = head
    let isWhole: Bool
    do throws(WireError) {
      isWhole = try section.parse(bytes.span, at: &headPosition, upTo: bytes.count)
    } catch {
      switch error {
      case .malformed(let reason, let place): throw .malformed(reason, offset: headStart + place)
      default: throw .malformed(.partHeadTooLarge, offset: headStart + headPosition)
      }
    }
    guard isWhole else {
      index += count
      if head.count == limits.headBytes {
        throw .malformed(.partHeadTooLarge, offset: headStart + limits.headBytes)
      }
      return nil
    }
    index += headPosition - before
    state = .content
    head.removeLast(head.count - headPosition)
    let fields = HTTPFields(bytes: head, entries: section.entries)
    guard let value = fields.single("content-disposition"), let form = FormDisposition(value) else {
      throw .malformed(.partDisposition, offset: headStart)
    }
    return MultipartPart(name: form.name, fileName: form.fileName, fields: fields)
  }
}

extension MultipartParser {
  /// The boundary that a Content-Type names, where it is `multipart/form-data` and the boundary is one: 1 through 70
  /// characters of RFC 2046 §5.1.1, the last not a space.
  public static func boundary(of contentType: String) -> String? {
    guard let value = FieldParameters(contentType), value.isNamed("multipart/form-data"),
      let boundary = value.single("boundary")
    else { return nil }
    let bytes = Array(boundary.utf8)
    guard (1...70).contains(bytes.count), bytes.last != space, bytes.allSatisfy(isBoundary) else {
      return nil
    }
    return boundary
  }

  private static func isBoundary(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    default: "'()+_,-./:=? ".utf8.contains(byte)
    }
  }
}

/// `form-data; name="…"; filename="…"` (RFC 7578 §4.2). `filename*` is not for forms and is passed over.
private struct FormDisposition {
  let name: String
  let fileName: String?

  init?(_ text: String) {
    guard let value = FieldParameters(text), value.isNamed("form-data"), let name = value.single("name")
    else { return nil }
    if value.count("filename") > 1 { return nil }
    self.name = Self.plain(name)
    fileName = value.single("filename").map(Self.plain)
  }

  /// Browsers write a quote and line breaks as `%22`, `%0D` and `%0A` (WHATWG HTML §4.10.21.8), and nothing else so.
  private static func plain(_ text: String) -> String {
    guard text.utf8.contains(UInt8(ascii: "%")) else { return text }
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.first {
      switch rest.prefix(3).map(ByteClass.lowercased) {
      case Array("%22".utf8): bytes.append(UInt8(ascii: "\""))
      case Array("%0d".utf8): bytes.append(carriageReturn)
      case Array("%0a".utf8): bytes.append(lineFeed)
      default:
        bytes.append(byte)
        rest = rest.dropFirst()
        continue
      }
      rest = rest.dropFirst(3)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
