/// Why a chat template cannot be read or gives no text. Lines count from 1.
public enum ChatTemplateError: Error, Equatable, Sendable {
  /// The template is not of the language.
  case syntax(line: Int, reason: String)
  /// A statement, filter, test or function of the language that is not implemented, or is none.
  case unknown(line: Int, name: String)
  /// The template called `raise_exception`.
  case raised(line: Int, message: String)
  /// A value was used as what it is not.
  case failed(line: Int, reason: String)
  /// It ran longer than it may.
  case tooManySteps(line: Int, limit: Int)
  /// It made more text than it may.
  case tooMuchText(line: Int, limitBytes: Int)
  /// Calls, or parts of an expression, within each other beyond what is allowed.
  case tooDeep(line: Int, limit: Int)

  public var line: Int {
    switch self {
    case .syntax(let line, _), .unknown(let line, _), .raised(let line, _), .failed(let line, _),
      .tooManySteps(let line, _), .tooMuchText(let line, _), .tooDeep(let line, _):
      line
    }
  }

  /// What went wrong, without the line.
  public var reason: String {
    switch self {
    case .syntax(_, let reason), .failed(_, let reason): reason
    case .unknown(_, let name): "\(name) is not supported"
    case .raised(_, let message): message
    case .tooManySteps(_, let limit): "more than \(limit) steps"
    case .tooMuchText(_, let limit): "more than \(limit) bytes of text"
    case .tooDeep(_, let limit): "nested more than \(limit) deep"
    }
  }
}

extension ChatTemplateError: CustomStringConvertible {
  public var description: String { "chat template, line \(line): \(reason)" }
}
