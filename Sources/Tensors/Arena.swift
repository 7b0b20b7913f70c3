/// One lane's scratch memory: a bump allocator. Memory is 64-byte aligned and uninitialised; it is given
/// back when the enclosing `scope` ends and kept for the next one. One thread at a time. Its owner keeps it
/// by name for as long as its views are in use.
public final class Arena {
  private struct Block {
    let memory: UnsafeMutableRawPointer
    let bytes: Int
  }

  private static let alignment = 64
  private static let smallestBlockBytes = 1 << 20
  /// Fewer rows are not worth dealing out.
  private static let leastRows = 8

  private var blocks: [Block] = []
  private var current = 0
  private var offset = 0
  private var usedBefore = 0

  /// The most that was in use at once, in bytes.
  public private(set) var peakBytes = 0
  /// What is in use now, in bytes.
  public var usedBytes: Int { usedBefore + offset }

  /// Who helps its thread, now.
  public var crew: Crew?

  /// Threads that `share` runs on at most.
  public var members: Int { crew?.members ?? 1 }

  /// Runs `body` for every piece, dealt out to the crew where there is one.
  /// - Parameter body: takes nothing of the arena; pieces must not touch each other's results. `member` is below `members`
  ///   and no two threads have the same.
  public func share(_ pieces: Int, _ body: @escaping (_ piece: Int, _ member: Int) -> Void) {
    if let crew, pieces > 1 { return crew.share(pieces, body) }
    for piece in 0..<pieces { body(piece, 0) }
  }

  /// Runs `body` for all rows of a step, dealt out in stretches where a crew can share many of them.
  public func shareRows(_ rows: Int, _ body: @escaping (_ rows: Range<Int>) -> Void) {
    let each = max(Self.leastRows, (rows + 2 * members - 1) / (2 * members))
    guard members > 1, rows > each else { return body(0..<rows) }
    share((rows + each - 1) / each) { piece, _ in
      body(piece * each..<min((piece + 1) * each, rows))
    }
  }

  public init() {}

  deinit {
    for block in blocks { block.memory.deallocate() }
  }

  /// An uninitialised matrix whose stride is its columns.
  public func matrix(_ rows: Int, _ columns: Int) -> MatrixView {
    precondition(rows >= 0 && columns >= 0, "arena: shape")
    return MatrixView(base: floats(rows * columns), rows: rows, columns: columns, stride: columns)
  }

  /// A copy of a parameter matrix.
  public func matrix(copying matrix: Matrix) -> MatrixView {
    let view = self.matrix(matrix.rows, matrix.columns)
    matrix.withView { view.copy(from: $0) }
    return view
  }

  /// `count` uninitialised floats.
  public func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
    precondition(count >= 0, "arena: count")
    let wanted = max(count * MemoryLayout<Float>.stride, 1)
    let bytes = (wanted + Self.alignment - 1) / Self.alignment * Self.alignment
    let memory = take(bytes)
    peakBytes = max(peakBytes, usedBytes)
    return memory.bindMemory(to: Float.self, capacity: count)
  }

  private func take(_ bytes: Int) -> UnsafeMutableRawPointer {
    while current < blocks.count {
      if offset + bytes <= blocks[current].bytes {
        defer { offset += bytes }
        return blocks[current].memory + offset
      }
      usedBefore += offset
      current += 1
      offset = 0
    }
    let size = max(bytes, Self.smallestBlockBytes, (blocks.last?.bytes ?? 0) * 2)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: Self.alignment)
    blocks.append(Block(memory: memory, bytes: size))
    offset = bytes
    return memory
  }

  /// Runs `body` and gives back everything that it took. Scopes nest.
  public func scope<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    let mark = (current, offset, usedBefore)
    defer { (current, offset, usedBefore) = mark }
    return try body()
  }
}
