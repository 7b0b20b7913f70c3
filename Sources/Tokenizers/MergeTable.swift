/// Which pairs of tokens make a third, and how early: one flat table, linear probing.
struct MergeTable: Sendable {
  struct Merge: Sendable, Equatable {
    /// The lower, the earlier.
    let rank: UInt32
    let id: Int32
  }

  private var keys: [UInt64]
  private var values: [Merge]
  private let mask: Int

  private static let none = UInt64.max

  /// Of a pair that comes twice the last counts.
  init(_ merges: [(left: Int32, right: Int32, id: Int32)]) {
    var capacity = 16
    while capacity < merges.count * 2 { capacity *= 2 }
    mask = capacity - 1
    keys = [UInt64](repeating: Self.none, count: capacity)
    values = [Merge](repeating: Merge(rank: 0, id: 0), count: capacity)
    for (rank, merge) in merges.enumerated() {
      let key = Self.key(merge.left, merge.right)
      var slot = Self.hash(key) & mask
      while keys[slot] != Self.none, keys[slot] != key { slot = (slot + 1) & mask }
      keys[slot] = key
      values[slot] = Merge(rank: UInt32(rank), id: merge.id)
    }
  }

  @inline(__always)
  private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  @inline(__always)
  private static func hash(_ key: UInt64) -> Int {
    Int(truncatingIfNeeded: (key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15 >> 31)
  }

  func withReader<R>(_ body: (Reader) -> R) -> R {
    keys.withUnsafeBufferPointer { keys in
      values.withUnsafeBufferPointer { values in body(Reader(keys: keys, values: values, mask: mask)) }
    }
  }

  struct Reader {
    fileprivate let keys: UnsafeBufferPointer<UInt64>
    fileprivate let values: UnsafeBufferPointer<Merge>
    fileprivate let mask: Int

    @inline(__always)
    func find(_ left: Int32, _ right: Int32) -> Merge? {
      let key = MergeTable.key(left, right)
      var slot = MergeTable.hash(key) & mask
      while keys[slot] != MergeTable.none {
        if keys[slot] == key { return values[slot] }
        slot = (slot + 1) & mask
      }
      return nil
    }
  }
}
