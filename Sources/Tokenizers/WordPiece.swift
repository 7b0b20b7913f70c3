/// Greedy longest match first over the pieces of a word.                                        [Devlin19], [Schuster12]
struct WordPiece: Sendable {
  let vocabulary: Vocabulary
  let unknown: Int32
  /// Bytes that stand before every piece but a word's first, `##` as a rule.
  let prefix: [UInt8]
  /// A word of more scalars is unknown as a whole.
  let scalarLimit: Int

  private let prefixHash: Vocabulary.Hash

  init(vocabulary: Vocabulary, unknown: Int32, prefix: [UInt8], scalarLimit: Int) {
    self.vocabulary = vocabulary
    self.unknown = unknown
    self.prefix = prefix
    self.scalarLimit = scalarLimit
    var hash = Vocabulary.Hash()
    for byte in prefix { hash.add(byte) }
    prefixHash = hash
  }

  /// Gives each piece of a word, as its id and its byte range in the word, to `emit`.
  ///
  /// - Parameter ends: scratch for the boundaries of one word; its contents do not matter.
  @inline(__always)
  func tokenise(
    _ word: UnsafeBufferPointer<UInt8>, pieces: inout [(id: Int32, range: Range<Int>)],
    ends: inout [(end: Int, tag: UInt32)]
  ) {
    let first = pieces.count
    var scalars = 0
    // A word of ASCII up to the limit in bytes need not be counted.
    if word.count > scalarLimit {
      for byte in word where byte & 0xC0 != 0x80 { scalars += 1 }
    }
    if scalars > scalarLimit {
      pieces.append((unknown, 0..<word.count))
      return
    }
    var start = 0
    while start < word.count {
      var hash = start == 0 ? Vocabulary.Hash() : prefixHash
      let skipped = start == 0 ? 0 : prefix.count
      let last = min(word.count, start + vocabulary.longest - skipped)
      ends.removeAll(keepingCapacity: true)
      var i = start
      while i < last {
        hash.add(word[i])
        i += 1
        if i == word.count || word[i] & 0xC0 != 0x80 { ends.append((i, hash.tag)) }
      }
      var found: Int32 = -1
      while let (end, tag) = ends.popLast() {
        found = vocabulary.find(
          tag: tag, prefix: start == 0 ? nil : prefix, UnsafeBufferPointer(rebasing: word[start..<end]))
        if found >= 0 {
          pieces.append((found, start..<end))
          start = end
          break
        }
      }
      if found < 0 {
        pieces.removeSubrange(first...)
        pieces.append((unknown, 0..<word.count))
        return
      }
    }
  }
}
