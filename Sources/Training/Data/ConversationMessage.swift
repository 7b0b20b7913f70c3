/// One turn of a conversation to learn from.
public struct ConversationMessage: Sendable, Equatable, Codable {
  public enum Role: String, Sendable, CaseIterable, Codable {
    case system, user, assistant
  }

  public let role: Role
  public let content: String

  public init(role: Role, content: String) {
    self.role = role
    self.content = content
  }
}
