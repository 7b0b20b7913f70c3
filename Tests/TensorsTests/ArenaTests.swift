import Tensors
import Testing

@Suite struct ArenaTests {
  @Test func memoryIsAlignedAndApart() {
    let arena = Arena()
    let parts = [1, 15, 16, 17, 1 << 20, 3].map { (arena.floats($0), $0) }
    for (index, (base, count)) in parts.enumerated() {
      #expect(UInt(bitPattern: base) % 64 == 0)
      base.update(repeating: Float(index), count: count)
    }
    for (index, (base, count)) in parts.enumerated() {
      #expect((0..<count).allSatisfy { base[$0] == Float(index) })
    }
  }

  @Test func scopesGiveBackAndNest() {
    let arena = Arena()
    let outer = arena.floats(100)
    outer.update(repeating: 5, count: 100)
    let used = arena.usedBytes
    for _ in 0..<3 {
      arena.scope {
        _ = arena.floats(3 << 18)
        arena.scope { _ = arena.floats(3 << 20) }
        _ = arena.floats(1 << 10)
      }
      #expect(arena.usedBytes == used)
    }
    let peak = arena.peakBytes
    #expect(peak >= 4 * ((3 << 18) + (3 << 20)) && peak < 4 * (5 << 20))
    #expect((0..<100).allSatisfy { outer[$0] == 5 })
    #expect(arena.scope { arena.floats(8) } == arena.scope { arena.floats(8) })
  }

  @Test func copiesAndViews() {
    let arena = Arena()
    let matrix = Matrix(rows: 3, columns: 4, values: (0..<12).map(Float.init))
    let view = arena.matrix(copying: matrix)
    #expect(Matrix(view) == matrix)
    #expect(Matrix(view.rows(1..<3).columns(2..<4)) == Matrix(rows: 2, columns: 2, values: [6, 7, 10, 11]))
    #expect(matrix[2, 3] == 11)
  }

  @Test func refusesRowsOutOfRange() async {
    await #expect(processExitsWith: .failure) { _ = Arena().matrix(2, 2).rows(1..<3) }
  }
}
