/// Why a `tokenizer.json`, or the `tokenizer_config.json` beside it, cannot be used.
public indirect enum TokenizerError: Error, Equatable, Sendable {
  /// The file is larger than is read.
  case tooLarge(bytes: Int, limitBytes: Int)
  /// Not JSON (RFC 8259), or nested too deeply; the offset is in bytes.
  case notJSON(offset: Int, reason: JSONFault)
  /// A member that must be there is not.
  case missing(path: String)
  /// A member holds another kind of value than its format says.
  case wrongType(path: String, expected: String)
  /// A number outside what the format allows.
  case outOfRange(path: String)
  /// A component of a type that is not implemented, by the name the file gives it.
  case unsupported(component: String, type: String)
  /// The same token, id or member twice.
  case duplicate(path: String, name: String)
  /// A token that is referred to but is not in the vocabulary, or has another id there.
  case unknownToken(path: String, token: String)
  /// One of these, in `tokenizer_config.json`.
  case inConfiguration(TokenizerError)
}

/// What is wrong with a JSON text.
public enum JSONFault: String, Sendable {
  case unexpectedEnd, unexpectedByte, invalidNumber, invalidEscape, loneSurrogate, invalidUTF8,
    controlCharacter, tooDeep, trailingBytes
}

extension TokenizerError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .tooLarge(let bytes, let limit): "tokenizer.json has \(bytes) bytes; the limit is \(limit)"
    case .notJSON(let offset, let reason):
      "tokenizer.json is not JSON at byte \(offset): \(reason.rawValue)"
    case .missing(let path): "tokenizer.json lacks \(path)"
    case .wrongType(let path, let expected): "\(path) in tokenizer.json is not \(expected)"
    case .outOfRange(let path): "\(path) in tokenizer.json is out of range"
    case .unsupported(let component, let type): "\(component) of type \(type) is not supported"
    case .duplicate(let path, let name): "\(path) in tokenizer.json has \(name) twice"
    case .unknownToken(let path, let token):
      "\(path) in tokenizer.json names \(token), which the vocabulary does not have under that id"
    case .inConfiguration(let error):
      error.description.replacing("tokenizer.json", with: "tokenizer_config.json")
    }
  }
}
