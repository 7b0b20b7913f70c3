internal import Synchronization

/// Words and the tokens they became, shared by all texts of a tokenizer and bounded in bytes.
///
/// Whoever finds it in use goes without it: nobody waits.
final class WordCache: Sendable {
  private let words = Mutex(Words(limitBytes: WordCache.limitBytes))

  static let limitBytes = 8 << 20
  /// Longer words are seldom seen again.
  static let longestWord = 48

  func withWords<R: Sendable>(_ body: (inout Words) -> R) -> R {
    let result = words.withLockIfAvailable { words in Box(value: body(&words)) }
    if let result { return result.value }
    var own = Words(limitBytes: 64 << 10)
    return body(&own)
  }

  /// Tells a result that is nil from a lock that is taken.
  private struct Box<R: Sendable>: Sendable { let value: R }

  struct Words: Sendable {
    private struct Slot {
      var tag: UInt32 = 0
      /// Where the word is in `keys`; -1: an empty slot.
      var start: Int32 = -1
      var length: Int32 = 0
      /// Where its tokens are in `tokens`.
      var first: Int32 = 0
      var count: Int32 = 0
    }

    private let limitBytes: Int
    private var slots: [Slot] = []
    private var used = 0
    private var keys: [UInt8] = []
    private var tokens: [(id: Int32, length: Int32)] = []
    private var first = 0

    init(limitBytes: Int) { self.limitBytes = limitBytes }

    /// Bytes held, at most; the slots are at least a quarter full.
    var bytes: Int { keys.count + tokens.count * 8 + used * 4 * MemoryLayout<Slot>.stride }

    static func tag(_ word: UnsafeBufferPointer<UInt8>) -> UInt32 {
      guard word.count <= WordCache.longestWord else { return 0 }
      var hash = Vocabulary.Hash()
      for byte in word { hash.add(byte) }
      return hash.tag
    }

    /// Gives the tokens of a word that is known; false where it is not.
    func find(_ word: UnsafeBufferPointer<UInt8>, _ tag: UInt32, _ body: (Int32, Int32) -> Void) -> Bool {
      guard !slots.isEmpty, word.count <= WordCache.longestWord else { return false }
      var index = Int(tag) & (slots.count - 1)
      while slots[index].start >= 0 {
        let slot = slots[index]
        if slot.tag == tag, matches(slot, word) {
          for i in Int(slot.first)..<Int(slot.first + slot.count) { body(tokens[i].id, tokens[i].length) }
          return true
        }
        index = (index + 1) & (slots.count - 1)
      }
      return false
    }

    private func matches(_ slot: Slot, _ word: UnsafeBufferPointer<UInt8>) -> Bool {
      guard Int(slot.length) == word.count else { return false }
      for i in 0..<word.count where keys[Int(slot.start) + i] != word[i] { return false }
      return true
    }

    /// Whether a word's tokens may be kept; those of others go when there is no room.
    mutating func begin(_ word: UnsafeBufferPointer<UInt8>) -> Bool {
      guard word.count <= WordCache.longestWord, word.count * 9 <= limitBytes else { return false }
      if bytes + word.count * 9 > limitBytes {
        slots.removeAll(keepingCapacity: true)
        keys.removeAll(keepingCapacity: true)
        tokens.removeAll(keepingCapacity: true)
        used = 0
      }
      first = tokens.count
      return true
    }

    mutating func add(_ id: Int32, _ length: Int32) { tokens.append((id, length)) }

    mutating func end(_ word: UnsafeBufferPointer<UInt8>, _ tag: UInt32) {
      if used * 2 >= slots.count { grow() }
      insert(
        Slot(
          tag: tag, start: Int32(keys.count), length: Int32(word.count), first: Int32(first),
          count: Int32(tokens.count - first)))
      keys += word
      used += 1
    }

    private mutating func grow() {
      let old = slots
      slots = [Slot](repeating: Slot(), count: max(256, old.count * 2))
      for slot in old where slot.start >= 0 { insert(slot) }
    }

    private mutating func insert(_ slot: Slot) {
      var index = Int(slot.tag) & (slots.count - 1)
      while slots[index].start >= 0 { index = (index + 1) & (slots.count - 1) }
      slots[index] = slot
    }
  }
}
