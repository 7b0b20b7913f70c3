internal import Serving

/// Written text as OpenAI's two routes write it, whole and in chunks.
struct WritingAnswer: Sendable {
  enum Form: Sendable {
    case completion, chat
  }

  let form: Form
  let id: String
  let model: String
  let createdAt: Int
  /// What the weights are: answers of one fingerprint, version and seed are alike.
  let fingerprint: String

  /// One finished choice.
  struct Choice: Sendable {
    var text = ""
    var tokens: [WrittenToken] = []
    var finishReason = FinishReason.stop
    var usage = WritingUsage(promptTokens: 0, writtenTokens: 0)
  }

  init(_ form: Form, _ writing: Writing, requestID: String, fingerprint: String) {
    self.form = form
    id = (form == .chat ? "chatcmpl-" : "cmpl-") + requestID
    model = ModelName(task: writing.task, version: writing.version).text
    createdAt = writing.createdAt
    self.fingerprint = fingerprint
  }

  /// - Parameter withLogProbabilities: as they were asked for.
  func whole(_ choices: [Choice], withLogProbabilities: Bool) -> [UInt8] {
    JSONWriter.object { writer in
      head(&writer, object: form == .chat ? "chat.completion" : "text_completion")
      writer.name("choices")
      writer.array(choices.enumerated()) { writer, choice in
        writer.object { writer in
          writer.member("index", choice.offset)
          switch form {
          case .chat:
            writer.name("message")
            writer.object {
              $0.member("role", "assistant")
              $0.member("content", choice.element.text)
              $0.member("refusal", nil as String?)
            }
          case .completion: writer.member("text", choice.element.text)
          }
          logProbabilities(
            withLogProbabilities ? choice.element.tokens : nil, after: 0, to: &writer)
          writer.member("finish_reason", choice.element.finishReason.rawValue)
        }
      }
      writer.name("usage")
      writer.usage(choices.map(\.usage))
    }
  }

  /// What one chunk of a stream says.
  enum Delta: Sendable {
    /// A chat's choice begins.
    case role
    /// - Parameter offset: characters of the choice before it.
    case text(String, tokens: [WrittenToken]?, offset: Int)
    case finish(FinishReason)
  }

  /// - Parameter includesUsage: an empty `usage` stands in every chunk before the one that has it.
  func chunk(_ delta: Delta, choice: Int, includesUsage: Bool) -> [UInt8] {
    JSONWriter.object { writer in
      head(&writer, object: form == .chat ? "chat.completion.chunk" : "text_completion")
      writer.name("choices")
      writer.array(CollectionOfOne(delta)) { writer, delta in
        writer.object { writer in
          writer.member("index", choice)
          var tokens: [WrittenToken]?
          var offset = 0
          var reason: FinishReason?
          var text = ""
          switch delta {
          case .role: break
          case .text(let more, let given, let start): (text, tokens, offset) = (more, given, start)
          case .finish(let why): reason = why
          }
          switch form {
          case .chat:
            writer.name("delta")
            writer.object { writer in
              if case .role = delta { writer.member("role", "assistant") }
              if reason == nil { writer.member("content", text) }
            }
          case .completion: writer.member("text", text)
          }
          logProbabilities(tokens, after: offset, to: &writer)
          writer.member("finish_reason", reason?.rawValue)
        }
      }
      if includesUsage {
        writer.name("usage")
        writer.null()
      }
    }
  }

  /// The chunk that has the usage and no choice.
  func usageChunk(_ usages: [WritingUsage]) -> [UInt8] {
    JSONWriter.object { writer in
      head(&writer, object: form == .chat ? "chat.completion.chunk" : "text_completion")
      writer.name("choices")
      writer.array { _ in }
      writer.name("usage")
      writer.usage(usages)
    }
  }

  private func head(_ writer: inout JSONWriter, object: String) {
    writer.member("id", id)
    writer.member("object", object)
    writer.member("created", createdAt)
    writer.member("model", model)
    writer.member("system_fingerprint", fingerprint)
  }

  private func logProbabilities(
    _ tokens: [WrittenToken]?, after offset: Int, to writer: inout JSONWriter
  ) {
    writer.name("logprobs")
    guard let tokens else { return writer.null() }
    switch form {
    case .chat: writer.chatLogProbabilities(tokens)
    case .completion: writer.logProbabilities(tokens, after: offset)
    }
  }
}

extension JSONWriter {
  fileprivate mutating func usage(_ usages: [WritingUsage]) {
    let prompt = usages.reduce(0) { $0 + $1.promptTokens }
    let written = usages.reduce(0) { $0 + $1.writtenTokens }
    object { writer in
      writer.member("prompt_tokens", prompt)
      writer.member("completion_tokens", written)
      writer.member("total_tokens", prompt + written)
      writer.name("prompt_tokens_details")
      writer.object { $0.member("cached_tokens", usages.reduce(0) { $0 + $1.cachedTokens }) }
    }
  }

  fileprivate mutating func chatLogProbabilities(_ tokens: [WrittenToken]) {
    object { writer in
      writer.name("content")
      writer.array(tokens) { writer, token in
        writer.object { writer in
          writer.fields(of: token.chosen)
          writer.name("top_logprobs")
          writer.array(token.best) { writer, other in writer.object { $0.fields(of: other) } }
        }
      }
      writer.member("refusal", nil as String?)
    }
  }

  private mutating func fields(of token: TokenProbability) {
    member("token", token.text)
    member("logprob", token.logProbability)
    name("bytes")
    array(token.bytes) { $0.value(Int($1)) }
  }

  fileprivate mutating func logProbabilities(_ tokens: [WrittenToken], after offset: Int) {
    object { writer in
      writer.member("tokens", tokens.map(\.chosen.text))
      writer.name("token_logprobs")
      writer.array(tokens) { $0.value($1.chosen.logProbability) }
      writer.name("top_logprobs")
      writer.array(tokens) { writer, token in
        writer.object { writer in
          for other in token.best { writer.member(other.text, other.logProbability) }
        }
      }
      writer.name("text_offset")
      var place = offset
      writer.array(tokens) { writer, token in
        writer.value(place)
        place += token.chosen.characters
      }
    }
  }
}

extension TokenProbability {
  /// Its text; of part of a character, its bytes as OpenAI writes them, so that no two tokens have one text.
  var text: String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    let digits = Array("0123456789abcdef")
    return "bytes:" + bytes.map { "\\x\(digits[Int($0 >> 4)])\(digits[Int($0 & 15)])" }.joined()
  }

  /// Characters (Unicode scalars) that begin in it.
  var characters: Int { bytes.count { $0 & 0xc0 != 0x80 } }
}
