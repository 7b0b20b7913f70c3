/// What is wrong with a safetensors file, or with a question put to one.
public enum SafetensorsError: Error, Equatable, Sendable {
  /// The file cannot be opened, measured or mapped; `code` is errno.
  case unreadable(path: String, code: Int32)
  /// Fewer bytes than the eight of the header's length.
  case truncated(bytes: Int)
  /// The header's length is past `SafetensorsHeader.limitBytes`.
  case headerTooLarge(bytes: UInt64)
  /// The header's length is past the end of the file.
  case headerBeyondFile(headerBytes: Int, fileBytes: Int)
  /// The header is not the JSON that the format allows; `offset` counts bytes from the file's start.
  case syntax(HeaderFault, offset: Int)
  /// A tensor, a metadata key or a field stands twice.
  case duplicate(name: String)
  case unknownElementType(name: String, text: String)
  /// The shape's elements or bytes do not fit in 63 bits.
  case shapeOverflow(name: String)
  /// The byte range is not what shape and element type ask for.
  case wrongSize(name: String, expectedBytes: Int, actualBytes: Int)
  /// The byte range is reversed or leaves the file.
  case offsetsOutsideFile(name: String)
  /// The tensor starts before the one before it ends.
  case overlap(name: String, offset: Int)
  /// Bytes before this tensor belong to no tensor.
  case hole(name: String, bytes: Int)
  /// Bytes after the last tensor belong to no tensor.
  case trailingBytes(count: Int)
  case missing(name: String)
  /// The tensor's elements are not of the kind asked for.
  case notConvertible(name: String, elementType: ElementType)
}

/// Why a header's text is refused.
public enum HeaderFault: String, Error, Equatable, Sendable {
  case unexpectedByte = "unexpected byte"
  case unexpectedEnd = "unexpected end"
  case invalidUTF8 = "invalid UTF-8"
  case invalidEscape = "invalid escape"
  case controlCharacter = "control character in a string"
  case numberTooLarge = "number past 63 bits"
  case leadingZero = "leading zero"
  case unknownField = "unknown field"
  case missingField = "missing field"
  case tooManyDimensions = "more than 16 dimensions"
}

extension SafetensorsError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreadable(let path, let code): "\(path) cannot be read (errno \(code))"
    case .truncated(let bytes): "the file has \(bytes) bytes, less than the 8 of the header's length"
    case .headerTooLarge(let bytes): "the header claims \(bytes) bytes, past the limit"
    case .headerBeyondFile(let header, let file):
      "the header claims \(header) bytes in a file of \(file)"
    case .syntax(let fault, let offset): "header: \(fault.rawValue) at byte \(offset)"
    case .duplicate(let name): "\(name) stands twice"
    case .unknownElementType(let name, let text): "\(name) has the unknown element type \(text)"
    case .shapeOverflow(let name): "the shape of \(name) overflows"
    case .wrongSize(let name, let expected, let actual):
      "\(name) has \(actual) bytes where its shape asks for \(expected)"
    case .offsetsOutsideFile(let name): "the offsets of \(name) are reversed or outside the file"
    case .overlap(let name, let offset): "\(name) overlaps the tensor before it at \(offset)"
    case .hole(let name, let bytes): "\(bytes) bytes before \(name) belong to no tensor"
    case .trailingBytes(let count): "\(count) bytes after the last tensor"
    case .missing(let name): "no tensor \(name)"
    case .notConvertible(let name, let type): "\(name) holds \(type.rawValue) elements"
    }
  }
}
