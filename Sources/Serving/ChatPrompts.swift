internal import Glibc
internal import Tokenizers

/// A base's conversation templates, read once.
struct ChatPrompts: Sendable {
  enum Failure: Error {
    /// The folder has no template.
    case none
    /// The conversation is nested deeper than a template is given.
    case tooDeep
    case template(ChatTemplateError)
  }

  private let folder: ChatTemplateFolder?
  private let plain: Result<ChatTemplate, ChatTemplateError>?
  private let withTools: Result<ChatTemplate, ChatTemplateError>?

  init(_ folder: ChatTemplateFolder?) {
    self.folder = folder
    plain = Self.read(folder?.source(withTools: false))
    withTools = Self.read(folder?.source(withTools: true))
  }

  /// What is wrong with the templates themselves: they are refused when they are asked for, not before.
  var fault: ChatTemplateError? {
    for case .failure(let error)? in [plain, withTools] { return error }
    return nil
  }

  /// The conversation as the base was taught to read it, with an opening for the assistant's turn.
  ///
  /// - Parameter seconds: since 1970; templates print the date, in UTC.
  func text(of conversation: Conversation, at seconds: Int) throws(Failure) -> String {
    guard let folder, let read = conversation.toolsJSON == nil ? plain : withTools else { throw .none }
    let messages: TemplateValue
    let tools: TemplateValue?
    do throws(TokenizerError) {
      messages = try TemplateValue(json: Array(conversation.messagesJSON.utf8))
      tools = try conversation.toolsJSON.map { (json) throws(TokenizerError) in
        try TemplateValue(json: Array(json.utf8))
      }
    } catch {
      throw .tooDeep
    }
    do throws(ChatTemplateError) {
      return try read.get().render(
        folder.context(messages: messages, tools: tools, addsGenerationPrompt: true), now: Self.date(seconds))
    } catch {
      throw .template(error)
    }
  }

  private static func read(_ source: String?) -> Result<ChatTemplate, ChatTemplateError>? {
    source.map { source in Result { () throws(ChatTemplateError) in try ChatTemplate(source) } }
  }

  private static func date(_ seconds: Int) -> TemplateDate {
    var time = time_t(seconds)
    var parts = tm()
    gmtime_r(&time, &parts)
    return TemplateDate(
      year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
      hour: Int(parts.tm_hour), minute: Int(parts.tm_min), second: Int(parts.tm_sec))
  }
}
