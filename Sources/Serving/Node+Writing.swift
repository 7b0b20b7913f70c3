internal import Adapters
internal import Engine
internal import Foundation
internal import Store
internal import Tokenizers

extension TaskKind {
  /// Whether a task of the kind continues texts.
  var writes: Bool { self == .generation }
}

extension Node {
  public func writes(_ task: String) async -> Bool {
    if writer == nil { return false }
    if task == Self.baseTask { return true }
    if let active = catalog.lookup(task) { return active.kind.writes }
    // Without an active version, or of another base.
    return (try? await store.task(task)).flatMap { TaskKind(rawValue: $0.kind) }?.writes ?? false
  }

  public func write(
    _ request: WritingRequest, timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> Writing {
    let version = request.options.version
    guard let writer else {
      _ = try await self.lease(request.task, version: version)
      throw .notImplemented("The base does not write: it is an encoder.")
    }
    try writer.admit()
    let limit = min(timeoutMilliseconds ?? .max, configuration.writingTimeoutMilliseconds)
    let deadline = Clock.nanoseconds() + Int64(limit) * 1_000_000
    let lease = try await self.lease(request.task, version: version)
    if let kind = lease.adapter?.kind, !kind.writes {
      throw .validation([
        FieldError(
          request.taskPointer, "is of kind \(kind.rawValue), which does not write",
          allowed: "base and tasks of kind generation")
      ])
    }
    let now = Int(Date().timeIntervalSince1970)
    let prompt = try await tokens(request, writer, at: now)
    let pieces = try writer.start(
      prompt, request, lease, principal: principal, deadline: deadline, limitMilliseconds: limit)
    return Writing(
      task: request.task, version: lease.version, subspace: lease.subspaceDigest, createdAt: now,
      pieces: pieces)
  }

  /// The prompt's tokens, special ones included. Long texts and all conversations are read on a lane.
  private func tokens(
    _ request: WritingRequest, _ writer: Writer, at seconds: Int
  ) async throws(ServingError) -> [Int32] {
    let tokenizer = tokenizer
    switch request.prompt {
    case .tokens(let ids): return ids
    case .text(let text):
      if text.utf8.count <= Self.inlineTextBytes { return tokenizer.encode(text, limit: nil).ids }
      return await lanes.run(.inference) { _ in tokenizer.encode(text, limit: nil).ids }
    case .conversation(let conversation):
      let made = await lanes.run(.inference) { _ in
        Result { () throws(ChatPrompts.Failure) in
          // The template prints the special tokens that the base wants.
          tokenizer.encode(
            try writer.chat.text(of: conversation, at: seconds), limit: nil, addingSpecials: false
          ).ids
        }
      }
      do throws(ChatPrompts.Failure) {
        return try made.get()
      } catch {
        throw Self.problem(error, request)
      }
    }
  }

  private static func problem(_ failure: ChatPrompts.Failure, _ request: WritingRequest) -> ServingError {
    switch failure {
    case .none:
      .validation([
        FieldError(
          request.pointer, "needs a chat template, and the base has none", allowed: "a text as prompt")
      ])
    case .tooDeep: .validation([FieldError(request.pointer, "is nested too deeply")])
    case .template(let error): .templateFailed(reason: error.reason, line: error.line)
    }
  }
}
