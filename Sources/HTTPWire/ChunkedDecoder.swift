/// The chunked transfer coding (RFC 9112 §7.1): sizes strict, extensions and trailers checked, bounded and dropped.
struct ChunkedDecoder: Sendable {
  private enum State { case size, extensionText, sizeEnd, data, dataEnd, dataLineEnd, trailers, finished }

  private var state = State.size
  private var digits = 0
  private var size = 0
  private var extensionBytes = 0
  private var trailers: FieldSectionParser
  private var trailerBytes = 0
  private var received = 0
  private var offset = 0
  private let limits: HTTPLimits

  init(limits: HTTPLimits) {
    self.limits = limits
    trailers = FieldSectionParser(limit: limits.fields)
  }

  var isFinished: Bool { state == .finished }

  /// Reads on, appending at most `room` data bytes to `output`; stops at the end of input, of room or of the body.
  ///
  /// - Returns: bytes of input used.
  mutating func decode(
    _ bytes: Span<UInt8>, from start: Int, into output: inout [UInt8], room: Int
  ) throws(WireError) -> Int {
    var position = start
    defer { offset += position - start }
    while position < bytes.count, state != .finished {
      let here = offset + position - start
      if state == .data {
        let count = min(size, bytes.count - position, room - output.count)
        if count == 0 { break }
        bytes.extracting(position..<position + count).withUnsafeBufferPointer {
          output.append(contentsOf: $0)
        }
        position += count
        size -= count
        if size == 0 { state = .dataEnd }
      } else if state == .trailers {
        try trailer(bytes[position], at: here)
        position += 1
      } else {
        try frame(bytes[position], at: here)
        position += 1
      }
    }
    return position - start
  }

  private mutating func frame(_ byte: UInt8, at offset: Int) throws(WireError) {
    switch state {
    case .size:
      if let digit = ByteClass.hexValue(byte) {
        digits += 1
        // 15 digits cannot overflow; a longer size, leading zeros too, is an attack.
        if digits > 15 { throw .malformed(.chunkSize, offset: offset) }
        size = size << 4 | Int(digit)
      } else if digits > 0, byte == carriageReturn {
        state = .sizeEnd
      } else if digits > 0, byte == UInt8(ascii: ";") {
        state = .extensionText
      } else {
        throw .malformed(.chunkSize, offset: offset)
      }
    case .extensionText:
      extensionBytes += 1
      if extensionBytes > limits.chunkExtensionBytes { throw .malformed(.chunkExtension, offset: offset) }
      if byte == carriageReturn {
        state = .sizeEnd
      } else if !ByteClass.isFieldCharacter(byte), !ByteClass.isBlank(byte) {
        throw .malformed(byte == lineFeed ? .bareLineFeed : .chunkExtension, offset: offset)
      }
    case .sizeEnd:
      guard byte == lineFeed else { throw .malformed(.bareCarriageReturn, offset: offset - 1) }
      digits = 0
      received += size
      if received > limits.bodyBytes { throw .bodyTooLarge(limitBytes: limits.bodyBytes) }
      state = size == 0 ? .trailers : .data
    case .dataEnd:
      guard byte == carriageReturn else { throw .malformed(.chunkEnd, offset: offset) }
      state = .dataLineEnd
    case .dataLineEnd:
      guard byte == lineFeed else { throw .malformed(.chunkEnd, offset: offset) }
      state = .size
    case .data, .trailers, .finished: break
    }
  }

  private mutating func trailer(_ byte: UInt8, at offset: Int) throws(WireError) {
    trailerBytes += 1
    if trailerBytes > limits.headBytes { throw .headTooLarge(limitBytes: limits.headBytes) }
    var position = 0
    let one = [byte]
    do throws(WireError) {
      if try trailers.parse(one.span, at: &position, upTo: 1) { state = .finished }
    } catch {
      // The section parser saw one byte: its offsets say nothing about the body.
      if case .malformed(let reason, _) = error { throw .malformed(reason, offset: offset) }
      throw error
    }
  }
}
