internal import Adapters
internal import Engine
internal import Logging
internal import Models

extension Node {
  /// Shows on this machine and with these weights what holds by construction (docs/decisions/0011-generation.md): a row's
  /// bits are the same alone and beside others, in a batch and in a text that is written.
  ///
  /// - Throws: `.validation` naming the wish and the weights where it does not hold.
  func checkDeterminism() async throws(ServingError) {
    let shape = model.configuration
    // Lengths on either side of the kernels' blocks and of a page; no two begin alike.
    let longest = min(checkpoint.textLimit, writer?.limitTokens ?? .max) - 1
    let rows = [1, 3, 16, 33, 50].enumerated().map { row, count in
      (0..<max(1, min(count, longest))).map { Int32((row + 1) * (2 * $0 + 5) % shape.vocabularySize) }
    }
    let executor = BatchExecutor(base: model, lanes: lanes)
    var holds = await Self.isIndependent(rows) { rows in
      await executor.run(
        rows.map { ids in
          BatchRow(
            ids: ids, typeIDs: ids.map { _ in 0 }, adapter: nil, subspace: nil, normalize: false)
        }, primary: subspaces.primary)
    }
    if let writer, holds {
      holds = await Self.isIndependent(rows) { rows in (try? await writer.continuations(of: rows)) ?? [] }
    }
    guard holds else {
      throw .validation([
        FieldError(
          "deterministic", "does not hold on this machine with weights \(model.weightFormat.rawValue)")
      ])
    }
    log.info("deterministic: answers do not depend on what is computed beside them")
  }

  /// Whether each row is answered alone as it is among all.
  static func isIndependent<Row: Sendable, Answer: Equatable & Sendable>(
    _ rows: [Row], _ answer: ([Row]) async -> [Answer]
  ) async -> Bool {
    let together = await answer(rows)
    guard together.count == rows.count else { return false }
    for (row, expected) in zip(rows, together) {
      guard await answer([row]) == [expected] else { return false }
    }
    return true
  }
}
