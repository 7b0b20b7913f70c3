/// Byte-pair encoding: the symbols of a word, merged pair by pair, the earliest learned first.      [Sennrich16]
///
/// A word's symbols are a linked list and its possible merges a heap, so that a word of n symbols takes n log n steps
/// however long it is.
struct BytePairEncoding: Sendable {
  struct Options: Sendable, Equatable {
    var unknown: Int32?
    /// Unknown symbols beside each other are one.
    var fusesUnknown = false
    /// The tokens `<0x00>` to `<0xFF>`, -1 for one that is missing; empty: unknown symbols are not spelled in bytes.
    var byteTokens: [Int32] = []
    /// A word that is a token is taken as it is.
    var ignoresMerges = false
    /// Stands before each symbol but a word's first.
    var prefix: [UInt8] = []
    /// Stands after a word's last symbol.
    var suffix: [UInt8] = []
    /// Words are bytes, written in `ByteAlphabet`.
    var isByteLevel = false
  }

  let vocabulary: Vocabulary
  let options: Options
  private let merges: MergeTable
  /// The token of each byte's character, or of each ASCII character; -1 where there is none.
  private let single: [Int32]
  private let cache = WordCache()

  init(vocabulary: Vocabulary, merges: [(left: Int32, right: Int32, id: Int32)], options: Options) {
    self.vocabulary = vocabulary
    self.options = options
    self.merges = MergeTable(merges)
    single = (0..<(options.isByteLevel ? 256 : 128)).map { byte in
      var bytes: [UInt8] = []
      UTF8Scalars.append(options.isByteLevel ? ByteAlphabet.scalars[byte] : UInt32(byte), to: &bytes)
      return vocabulary.id(of: bytes) ?? -1
    }
  }

  /// What a text's worth of words needs at hand; not to outlive the closure.
  func withEncoder<R: Sendable>(_ body: (inout Encoder) -> R) -> R {
    cache.withWords { words in
      vocabulary.withReader { vocabulary in
        merges.withReader { merges in
          single.withUnsafeBufferPointer { single in
            var encoder = Encoder(
              vocabulary: vocabulary, merges: merges, single: single, options: options, words: words)
            // Moved, so that the table has one owner and is not copied.
            words = WordCache.Words(limitBytes: 0)
            defer { swap(&words, &encoder.words) }
            return body(&encoder)
          }
        }
      }
    }
  }
}

extension BytePairEncoding {
  struct Encoder {
    fileprivate let vocabulary: Vocabulary.Reader
    fileprivate let merges: MergeTable.Reader
    fileprivate let single: UnsafeBufferPointer<Int32>
    fileprivate let options: Options
    fileprivate var words: WordCache.Words
    private var symbols: [Symbol] = []
    private var heap = MergeHeap()
    private var scratch: [UInt8] = []

    fileprivate init(
      vocabulary: Vocabulary.Reader, merges: MergeTable.Reader, single: UnsafeBufferPointer<Int32>,
      options: Options, words: WordCache.Words
    ) {
      self.vocabulary = vocabulary
      self.merges = merges
      self.single = single
      self.options = options
      self.words = words
    }

    private struct Symbol {
      var id: Int32
      var previous: Int32
      var next: Int32
      /// Bytes of the word; 0 once merged into the one before.
      var length: Int32
    }

    /// Appends the tokens of a word of valid UTF-8.
    mutating func tokenise(
      _ text: NormalizedText, _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>,
      into result: inout TokenisedText
    ) {
      let word = UnsafeBufferPointer(rebasing: bytes[range])
      var position = range.lowerBound
      func give(_ id: Int32, _ length: Int32) {
        let start = min(position, range.upperBound - 1)
        let end = min(max(position + Int(length), start + 1), range.upperBound)
        result.ids.append(id)
        result.offsets.append(text.originalOfScalars(start..<end))
        position += Int(length)
      }
      if options.ignoresMerges, let id = whole(word) { return give(id, Int32(word.count)) }
      let tag = WordCache.Words.tag(word)
      if words.find(word, tag, give) { return }
      spell(word)
      merge()
      let isKept = words.begin(word)
      for symbol in symbols where symbol.length > 0 {
        give(symbol.id, symbol.length)
        if isKept { words.add(symbol.id, symbol.length) }
      }
      if isKept { words.end(word, tag) }
    }

    private mutating func whole(_ word: UnsafeBufferPointer<UInt8>) -> Int32? {
      guard options.isByteLevel else { return find(word) }
      scratch.removeAll(keepingCapacity: true)
      ByteAlphabet.write(word, to: &scratch)
      return scratch.withUnsafeBufferPointer { find($0) }
    }

    private func find(_ token: UnsafeBufferPointer<UInt8>) -> Int32? {
      var hash = Vocabulary.Hash()
      for byte in token { hash.add(byte) }
      let id = vocabulary.find(tag: hash.tag, prefix: UnsafeBufferPointer(rebasing: token[..<0]), token)
      return id < 0 ? nil : id
    }

    /// Puts down a word's symbols before any merge.
    private mutating func spell(_ word: UnsafeBufferPointer<UInt8>) {
      symbols.removeAll(keepingCapacity: true)
      var unknown: Int32 = 0
      func add(_ id: Int32, _ length: Int32) {
        let index = Int32(symbols.count)
        if index > 0 { symbols[Int(index) - 1].next = index }
        symbols.append(Symbol(id: id, previous: index - 1, next: -1, length: length))
      }
      var i = 0
      while i < word.count {
        let length = options.isByteLevel ? 1 : UTF8Scalars.decode(word, at: i).length
        let id = symbol(word, i, length)
        if id >= 0 {
          if unknown > 0, let token = options.unknown { add(token, unknown) }
          unknown = 0
          add(id, Int32(length))
        } else if let bytes = fallback(word, i, length) {
          for byte in bytes { add(byte, 1) }
        } else if let token = options.unknown {
          if unknown > 0, !options.fusesUnknown {
            add(token, unknown)
            unknown = 0
          }
          unknown += Int32(length)
        }
        i += length
      }
      if unknown > 0, let token = options.unknown { add(token, unknown) }
    }

    @inline(__always)
    private mutating func symbol(_ word: UnsafeBufferPointer<UInt8>, _ i: Int, _ length: Int) -> Int32 {
      if options.prefix.isEmpty, options.suffix.isEmpty {
        let byte = Int(word[i])
        if byte < single.count { return single[byte] }
        return find(UnsafeBufferPointer(rebasing: word[i..<i + length])) ?? -1
      }
      let affixed = affixed(word, i, length)
      return affixed.withUnsafeBufferPointer { find($0) } ?? -1
    }

    private func affixed(_ word: UnsafeBufferPointer<UInt8>, _ i: Int, _ length: Int) -> [UInt8] {
      var bytes = i > 0 ? options.prefix : []
      let part = UnsafeBufferPointer(rebasing: word[i..<i + length])
      if options.isByteLevel { ByteAlphabet.write(part, to: &bytes) } else { bytes += part }
      if i + length == word.count { bytes += options.suffix }
      return bytes
    }

    /// The byte tokens of a symbol that is none; nil where one of them is missing.
    private func fallback(_ word: UnsafeBufferPointer<UInt8>, _ i: Int, _ length: Int) -> [Int32]? {
      guard options.byteTokens.count == 256 else { return nil }
      let ids = affixed(word, i, length).map { options.byteTokens[Int($0)] }
      return ids.contains { $0 < 0 } ? nil : ids
    }

    /// Merges until no pair of neighbours is in the table.
    private mutating func merge() {
      heap.removeAll()
      for i in 0..<max(symbols.count - 1, 0) {
        if let merge = merges.find(symbols[i].id, symbols[i + 1].id) { heap.add(merge, at: Int32(i)) }
      }
      heap.order()
      while let (position, id) = heap.popFirst() {
        let left = symbols[Int(position)]
        guard left.length > 0, left.next >= 0 else { continue }
        let right = symbols[Int(left.next)]
        // An entry may be of a pair that is no longer there.
        guard let now = merges.find(left.id, right.id), now.id == id else { continue }
        symbols[Int(position)].id = id
        symbols[Int(position)].length += right.length
        symbols[Int(position)].next = right.next
        symbols[Int(left.next)].length = 0
        if right.next >= 0 { symbols[Int(right.next)].previous = position }
        if left.previous >= 0, let merge = merges.find(symbols[Int(left.previous)].id, id) {
          heap.push(merge, at: left.previous)
        }
        if right.next >= 0, let merge = merges.find(id, symbols[Int(right.next)].id) {
          heap.push(merge, at: position)
        }
      }
    }
  }
}

/// Merges that may be done, the earliest learned first, then the leftmost.
private struct MergeHeap {
  private struct Entry {
    /// rank << 32 | position
    let key: UInt64
    let id: Int32
  }

  private var entries: [Entry] = []

  mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

  /// Adds without keeping order, before `order`.
  mutating func add(_ merge: MergeTable.Merge, at position: Int32) {
    entries.append(Entry(key: UInt64(merge.rank) << 32 | UInt64(position), id: merge.id))
  }

  mutating func order() {
    var i = entries.count / 2
    while i > 0 {
      i -= 1
      sink(i)
    }
  }

  mutating func push(_ merge: MergeTable.Merge, at position: Int32) {
    add(merge, at: position)
    var child = entries.count - 1
    let entry = entries[child]
    while child > 0 {
      let parent = (child - 1) / 2
      guard entry.key < entries[parent].key else { break }
      entries[child] = entries[parent]
      child = parent
    }
    entries[child] = entry
  }

  mutating func popFirst() -> (position: Int32, id: Int32)? {
    guard let first = entries.first, let last = entries.popLast() else { return nil }
    if !entries.isEmpty {
      entries[0] = last
      sink(0)
    }
    return (Int32(truncatingIfNeeded: first.key & 0xFFFF_FFFF), first.id)
  }

  private mutating func sink(_ start: Int) {
    var parent = start
    let entry = entries[parent]
    while true {
      var child = parent * 2 + 1
      guard child < entries.count else { break }
      if child + 1 < entries.count, entries[child + 1].key < entries[child].key { child += 1 }
      guard entries[child].key < entry.key else { break }
      entries[parent] = entries[child]
      parent = child
    }
    entries[parent] = entry
  }
}
