/// Tokens and ids, keyed by bytes: one flat table, linear probing, no `String`.
struct Vocabulary: Sendable {
  /// One more than the greatest id.
  private(set) var count = 0
  /// Length of the longest token.
  private(set) var longest = 0
  private var slots: [Slot] = []
  private var mask = 0
  /// Where an id's bytes are; -1 for an id not in use.
  private var starts: [Int32] = []
  private var lengths: [Int32] = []
  private var text: [UInt8] = []

  private struct Slot {
    var tag: UInt32
    var id: Int32
  }

  /// FNV-1a, which can be continued byte by byte: the hashes of all prefixes of a word come from one pass.
  struct Hash {
    private(set) var state: UInt64 = 0xcbf2_9ce4_8422_2325

    @inline(__always)
    mutating func add(_ byte: UInt8) { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }

    @inline(__always)
    var tag: UInt32 { UInt32(truncatingIfNeeded: (state ^ state >> 29) &* 0x9e37_79b9_7f4a_7c15 >> 32) }
  }

  /// - Parameter entries: distinct ids ≥ 0; a gap between ids costs memory.
  /// - Throws: `TokenizerError.duplicate` for a token or an id that comes twice.
  init(_ entries: [(token: [UInt8], id: Int32)], path: String) throws(TokenizerError) {
    var capacity = 16
    while capacity < entries.count * 2 { capacity *= 2 }
    mask = capacity - 1
    slots = [Slot](repeating: Slot(tag: 0, id: -1), count: capacity)
    count = entries.reduce(0) { max($0, Int($1.id) + 1) }
    starts = [Int32](repeating: -1, count: count)
    lengths = [Int32](repeating: 0, count: count)
    text.reserveCapacity(entries.reduce(0) { $0 + $1.token.count })
    for (token, id) in entries {
      var hash = Hash()
      for byte in token { hash.add(byte) }
      let known = token.withUnsafeBufferPointer { find(tag: hash.tag, prefix: nil, $0) }
      guard known < 0 else {
        throw .duplicate(path: path, name: String(decoding: token, as: UTF8.self))
      }
      guard starts[Int(id)] < 0 else { throw .duplicate(path: path, name: "id \(id)") }
      starts[Int(id)] = Int32(text.count)
      lengths[Int(id)] = Int32(token.count)
      text += token
      longest = max(longest, token.count)
      var slot = Int(hash.tag) & mask
      while slots[slot].id >= 0 { slot = (slot + 1) & mask }
      slots[slot] = Slot(tag: hash.tag, id: id)
    }
  }

  /// The id of the token `prefix` + `bytes`, whose hash is given; -1 where there is none.
  @inline(__always)
  func find(tag: UInt32, prefix: [UInt8]?, _ bytes: UnsafeBufferPointer<UInt8>) -> Int32 {
    slots.withUnsafeBufferPointer { slots in
      var slot = Int(tag) & mask
      while true {
        let entry = slots[slot]
        if entry.id < 0 { return -1 }
        if entry.tag == tag, matches(entry.id, prefix: prefix, bytes) { return entry.id }
        slot = (slot + 1) & mask
      }
    }
  }

  private func matches(_ id: Int32, prefix: [UInt8]?, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    let skipped = prefix?.count ?? 0
    guard Int(lengths[Int(id)]) == skipped + bytes.count else { return false }
    let start = Int(starts[Int(id)])
    return text.withUnsafeBufferPointer { text in
      if let prefix {
        for i in 0..<skipped where text[start + i] != prefix[i] { return false }
      }
      for i in 0..<bytes.count where text[start + skipped + i] != bytes[i] { return false }
      return true
    }
  }

  func id(of token: some Sequence<UInt8>) -> Int32? {
    let bytes = Array(token)
    var hash = Hash()
    for byte in bytes { hash.add(byte) }
    let id = bytes.withUnsafeBufferPointer { find(tag: hash.tag, prefix: nil, $0) }
    return id < 0 ? nil : id
  }

  func token(_ id: Int32) -> ArraySlice<UInt8>? {
    guard id >= 0, id < count, starts[Int(id)] >= 0 else { return nil }
    return text[Int(starts[Int(id)])..<Int(starts[Int(id)] + lengths[Int(id)])]
  }
}
