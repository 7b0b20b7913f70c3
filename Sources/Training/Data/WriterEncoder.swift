internal import Adapters
public import Tokenizers

/// How the rows of writers become tokens.
///
/// A completion follows its prompt's tokens and ends with the end token. A conversation is the text of the base's chat
/// template; a turn of the assistant is what the template adds when it is told that turn after the conversation before
/// it, opened for an answer, up to the turn's end token. A pure function: templates that print the date print 1 January
/// 1970.
public struct WriterEncoder: Sendable {
  /// A row's tokens, and which of them are to be written; none of these is the first.
  struct Tokens {
    var ids: [Int32]
    /// Ascending, not empty.
    var targets: [Range<Int>]
    var isTruncated = false
  }

  private struct Turn {
    /// All text before the turn, the opening for its answer included.
    let before: String
    /// The same with the turn.
    let after: String
  }

  private let tokenizer: Tokenizer
  private let chat: ChatTemplateFolder?
  /// nil where the base has none.
  private let template: Result<ChatTemplate, ChatTemplateError>?
  private let ends: [Int32]

  /// - Parameters:
  ///   - chat: the base's; nil or without a template, conversations are refused.
  ///   - ends: tokens that end a text; the first is put behind what has none. None: texts are learnt without an end.
  public init(tokenizer: Tokenizer, chat: ChatTemplateFolder?, ends: [Int32]) {
    self.tokenizer = tokenizer
    self.chat = chat
    self.ends = ends
    template = chat?.source.map { source in
      Result { () throws(ChatTemplateError) in try ChatTemplate(source) }
    }
  }

  /// What can be refused without tokenising.
  func check(_ example: TrainingExample, _ row: Int) throws(TrainingError) {
    guard case .conversation(let messages, _) = example else { return }
    _ = try turns(of: messages, row)
  }

  /// - Parameter limit: tokens at most; what follows is cut off.
  /// - Throws: `.row` for a row without a token to write, before or after the cut, and one that the template cannot
  ///   render or take apart; `.setting` where the base has no template that can be read.
  func tokens(_ example: TrainingExample, _ row: Int, limit: Int) throws(TrainingError) -> Tokens {
    var tokens: Tokens
    switch example {
    case .completion(let prompt, let completion, _): tokens = self.tokens(prompt, completion)
    case .conversation(let messages, _): tokens = try self.tokens(messages, row)
    default: throw .rowKind(row: row, expected: .generation)
    }
    guard let first = tokens.targets.first?.lowerBound else {
      throw .row(row, reason: "has no token to write")
    }
    guard tokens.ids.count > limit else { return tokens }
    guard first < limit else {
      throw .row(row, reason: "has \(first) tokens before the first to write, max_length is \(limit)")
    }
    tokens.ids.removeLast(tokens.ids.count - limit)
    tokens.targets = tokens.targets.filter { $0.lowerBound < limit }.map { $0.clamped(to: 0..<limit) }
    tokens.isTruncated = true
    return tokens
  }

  private func tokens(_ prompt: String, _ completion: String) -> Tokens {
    let opening = tokenizer.encode(prompt, limit: nil).ids
    var ids = tokenizer.encode(prompt + completion, limit: nil).ids
    // The prompt's tokens are those that it has alone, as when it is asked. Where both texts would share a token, each
    // is read for itself.
    if !ids.starts(with: opening) {
      ids = opening + tokenizer.encode(completion, limit: nil, addingSpecials: false).ids
    }
    if ids.count > opening.count, let end = ends.first, !ends.contains(ids[ids.count - 1]) { ids.append(end) }
    let target = min(max(opening.count, 1), ids.count)..<ids.count
    return Tokens(ids: ids, targets: target.isEmpty ? [] : [target])
  }

  private func tokens(_ messages: [ConversationMessage], _ row: Int) throws(TrainingError) -> Tokens {
    let turns = try turns(of: messages, row)
    func encode(_ text: String) -> [Int32] {
      tokenizer.encode(text, limit: nil, addingSpecials: false).ids
    }
    var ids = encode(turns.last?.after ?? "")
    func shared(_ text: String) -> Int { zip(encode(text), ids).prefix { $0 == $1 }.count }
    var targets: [Range<Int>] = []
    for (index, turn) in turns.enumerated() {
      let first = max(shared(turn.before), 1)
      let last = index == turns.count - 1 ? ids.count : shared(turn.after)
      guard first < last else { continue }
      // What the template puts behind the end token is not the assistant's.
      let end = ids[first..<last].lastIndex { ends.contains($0) }
      targets.append(first..<(end.map { $0 + 1 } ?? last))
    }
    guard let last = targets.last else { return Tokens(ids: ids, targets: []) }
    ids.removeLast(ids.count - last.upperBound)
    if let end = ends.first, !ends.contains(ids[ids.count - 1]) {
      ids.append(end)
      targets[targets.count - 1] = last.lowerBound..<ids.count
    }
    return Tokens(ids: ids, targets: targets)
  }

  /// The turns of the assistant; each begins with the text of the one before.
  private func turns(of messages: [ConversationMessage], _ row: Int) throws(TrainingError) -> [Turn] {
    let places = messages.indices.filter { messages[$0].role == .assistant }
    guard !places.isEmpty else { throw .row(row, reason: "has no turn of the assistant") }
    var turns: [Turn] = []
    for place in places {
      let turn = Turn(
        before: try render(messages[..<place], isOpened: true, row),
        after: try render(messages[...place], isOpened: false, row))
      let isWhole =
        turn.after.utf8.starts(with: turn.before.utf8) && turn.after.utf8.count > turn.before.utf8.count
        && turns.last.map { turn.before.utf8.starts(with: $0.after.utf8) } ?? true
      guard isWhole else {
        throw .row(
          row, reason: "has a turn (message \(place + 1)) that the chat template does not append as it is")
      }
      turns.append(turn)
    }
    return turns
  }

  private func render(
    _ messages: ArraySlice<ConversationMessage>, isOpened: Bool, _ row: Int
  ) throws(TrainingError) -> String {
    guard let chat, let template else {
      throw .setting(name: "data", reason: "holds conversations, and the base has no chat template")
    }
    let values = messages.map { message in
      TemplateValue.object([
        ("role", .string(message.role.rawValue)), ("content", .string(message.content)),
      ])
    }
    let parsed: ChatTemplate
    do throws(ChatTemplateError) {
      parsed = try template.get()
    } catch {
      throw .setting(name: "data", reason: "holds conversations, and the base's \(error)")
    }
    do throws(ChatTemplateError) {
      return try parsed.render(
        chat.context(messages: .list(values), tools: nil, addsGenerationPrompt: isOpened))
    } catch {
      throw .row(row, reason: "cannot be rendered: \(error)")
    }
  }
}
