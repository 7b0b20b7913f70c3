internal import HTTPWire
internal import Serving

/// An error on its way to a client, and what the log says of it.
struct Problem: Error, Sendable {
  enum Member: Sendable {
    case text(String)
    case number(Int?)
    case texts([String])
    case errors([FieldError])
  }

  static let contentType = "application/problem+json"

  let code: ProblemCode
  /// Made of the caller's own data and our limits alone.
  var detail: String?
  var members: [(String, Member)] = []
  var fields: [(String, String)] = []
  /// For the log alone.
  var cause: String?

  init(
    _ code: ProblemCode, _ detail: String? = nil, _ members: [(String, Member)] = [],
    fields: [(String, String)] = [], cause: String? = nil
  ) {
    self.code = code
    self.detail = detail
    self.members = members
    self.fields = fields
    self.cause = cause
  }

  /// The problem object (RFC 9457 §3).
  func json(requestID: String) -> [UInt8] {
    let entry = code.entry
    return JSONWriter.object { writer in
      writer.member("type", code.type)
      writer.member("title", entry.title)
      writer.member("status", entry.status)
      if let detail { writer.member("detail", detail) }
      writer.member("instance", "/requests/\(requestID)")
      writer.member("code", code.rawValue)
      writer.member("request_id", requestID)
      write(members, to: &writer)
    }
  }

  func write(_ members: [(String, Member)], to writer: inout JSONWriter) {
    for (name, member) in members {
      switch member {
      case .text(let text): writer.member(name, text)
      case .number(let number): writer.member(name, number)
      case .texts(let texts): writer.member(name, texts)
      case .errors(let errors):
        writer.name(name)
        writer.array(errors) { writer, error in
          writer.object {
            $0.member("pointer", error.pointer)
            $0.member("detail", error.detail)
            if let allowed = error.allowed { $0.member("allowed", allowed) }
          }
        }
      }
    }
  }

  func response(requestID: String) -> HTTPResponse {
    HTTPResponse(
      status: code.entry.status, fields: [("Content-Type", Self.contentType)] + fields,
      body: .bytes(json(requestID: requestID)))
  }
}
