internal import HTTPWire
internal import Serving

extension Problem {
  /// OpenAI's error object; what a problem object would carry beside these stands in it too.
  func openAI() -> [UInt8] {
    JSONWriter.object { writer in
      writer.name("error")
      writer.object { writer in
        writer.member("message", detail ?? code.entry.title)
        writer.member("type", openAIType)
        writer.member("param", parameter)
        writer.member("code", code.rawValue)
        write(members, to: &writer)
      }
    }
  }

  func openAIResponse() -> HTTPResponse {
    .json(openAI(), status: code.entry.status, fields: fields)
  }

  private var openAIType: String {
    switch code.entry.status {
    case 401: "authentication_error"
    case 429: "rate_limit_error"
    case ..<500: "invalid_request_error"
    default: "server_error"
    }
  }

  /// The first refused field, as a JSON pointer or a parameter's name.
  private var parameter: String? {
    for (name, member) in members {
      switch (name, member) {
      case (_, .errors(let errors)): return errors.first?.pointer
      case ("pointer", .text(let pointer)): return pointer
      default: continue
      }
    }
    return nil
  }
}
