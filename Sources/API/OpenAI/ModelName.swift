internal import Serving

/// What OpenAI's `model` names: `base`, a task, or one version of it as `task@3`.
struct ModelName: Sendable, Equatable {
  let task: String
  let version: Int?

  /// - Throws: `task-not-found` for what cannot be a name.
  init(_ text: String) throws(Problem) {
    if let named = Names.version(text) {
      self.init(task: named.task, version: named.version)
    } else if Names.isValid(text) {
      self.init(task: text, version: nil)
    } else {
      throw Problem(.notFound(.task, id: text))
    }
  }

  init(task: String, version: Int?) {
    self.task = task
    self.version = version
  }

  var isBase: Bool { task == Names.base }

  /// As an answer names who gave it.
  var text: String { version.map { "\(task)@\($0)" } ?? task }
}
