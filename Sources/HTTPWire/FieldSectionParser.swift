/// Field lines up to and including the empty line (RFC 9112 §5), byte by byte, so that any split of the input gives
/// the same table and the same error.
struct FieldSectionParser: Sendable {
  private enum State { case lineStart, name, beforeValue, value, valueEnd, sectionEnd }

  private var state = State.lineStart
  private var current = HTTPFields.Entry()
  private(set) var entries: [HTTPFields.Entry] = []
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  /// Fields that a first allocation holds.
  private static let usualFields = 12

  /// Reads `bytes[position..<end]`; true when the empty line was read, `position` then stands behind it.
  mutating func parse(
    _ bytes: Span<UInt8>, at position: inout Int, upTo end: Int
  ) throws(WireError) -> Bool {
    while position < end {
      let byte = bytes[position]
      switch state {
      case .lineStart:
        if byte == carriageReturn {
          state = .sectionEnd
        } else if ByteClass.isBlank(byte) {
          throw .malformed(.foldedField, offset: position)
        } else if byte == lineFeed {
          throw .malformed(.bareLineFeed, offset: position)
        } else {
          guard ByteClass.token.contains(byte) else { throw .malformed(.fieldName, offset: position) }
          if entries.count == limit { throw .tooManyFields(limit: limit) }
          if entries.isEmpty { entries.reserveCapacity(FieldSectionParser.usualFields) }
          current.nameStart = UInt32(position)
          state = .name
        }
        position += 1
      case .name:
        var at = position
        while at < end, ByteClass.token.contains(bytes[at]) { at += 1 }
        position = at
        guard at < end else { break }
        guard bytes[at] == UInt8(ascii: ":") else { throw .malformed(.fieldName, offset: at) }
        current.nameEnd = UInt32(at)
        position += 1
        state = .beforeValue
      case .beforeValue:
        if ByteClass.isBlank(byte) {
          position += 1
        } else {
          current.valueStart = UInt32(position)
          current.valueEnd = UInt32(position)
          state = .value
        }
      case .value:
        var at = position
        while at < end {
          let byte = bytes[at]
          if ByteClass.isFieldCharacter(byte) {
            at += 1
            current.valueEnd = UInt32(at)
          } else if ByteClass.isBlank(byte) {
            at += 1
          } else {
            break
          }
        }
        position = at
        guard at < end else { break }
        if bytes[at] == lineFeed { throw .malformed(.bareLineFeed, offset: at) }
        guard bytes[at] == carriageReturn else { throw .malformed(.fieldValue, offset: at) }
        position += 1
        state = .valueEnd
      case .valueEnd:
        guard byte == lineFeed else { throw .malformed(.bareCarriageReturn, offset: position - 1) }
        entries.append(current)
        position += 1
        state = .lineStart
      case .sectionEnd:
        guard byte == lineFeed else { throw .malformed(.bareCarriageReturn, offset: position - 1) }
        position += 1
        return true
      }
    }
    return false
  }
}
