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

  /// What a text's worth of words needs at hand; not to outlive the closure.
  func withMatcher<R>(_ body: (Matcher) -> R) -> R {
    vocabulary.withReader { reader in
      prefix.withUnsafeBufferPointer { prefix in
        withUnsafeTemporaryAllocation(of: Matcher.End.self, capacity: vocabulary.longest + 1) { ends in
          body(
            Matcher(
              vocabulary: reader, longest: vocabulary.longest, unknown: unknown, prefix: prefix,
              prefixHash: prefixHash, scalarLimit: scalarLimit, ends: ends))
        }
      }
    }
  }

  struct Matcher {
    /// A place where a piece may end, with the hash of the piece up to it.
    fileprivate struct End {
      let position: Int
      let tag: UInt32
    }

    fileprivate let vocabulary: Vocabulary.Reader
    fileprivate let longest: Int
    fileprivate let unknown: Int32
    fileprivate let prefix: UnsafeBufferPointer<UInt8>
    fileprivate let prefixHash: Vocabulary.Hash
    fileprivate let scalarLimit: Int
    fileprivate let ends: UnsafeMutableBufferPointer<End>

    /// Appends the pieces of a word of valid UTF-8, each with its byte range in the word moved by `base`.
    @inline(__always)
    func tokenise(
      _ word: UnsafeBufferPointer<UInt8>, base: Int, of output: NormalizedText,
      into result: inout TokenisedText
    ) {
      let first = result.ids.count
      var start = isTooLong(word) ? -1 : 0
      while start >= 0, start < word.count {
        let end = longestPiece(word, from: start, into: &result.ids)
        if end >= 0 { result.offsets.append(output.original(base + start..<base + end)) }
        start = end
      }
      if start < 0 {
        result.ids.removeLast(result.ids.count - first)
        result.offsets.removeLast(result.offsets.count - first)
        result.ids.append(unknown)
        result.offsets.append(output.original(base..<base + word.count))
      }
    }

    /// The end of the longest piece from a position, whose id is appended; -1 where there is none.
    @inline(__always)
    private func longestPiece(
      _ word: UnsafeBufferPointer<UInt8>, from start: Int, into ids: inout [Int32]
    ) -> Int {
      let prefix = start == 0 ? UnsafeBufferPointer(rebasing: self.prefix[..<0]) : self.prefix
      var hash = start == 0 ? Vocabulary.Hash() : prefixHash
      let last = min(word.count, start + longest - prefix.count)
      var count = 0
      var i = start
      while i < last {
        hash.add(word[i])
        i += 1
        if i == word.count || word[i] & 0xC0 != 0x80 {
          ends.initializeElement(at: count, to: End(position: i, tag: hash.tag))
          count += 1
        }
      }
      while count > 0 {
        count -= 1
        let end = ends[count]
        let piece = UnsafeBufferPointer(rebasing: word[start..<end.position])
        let id = vocabulary.find(tag: end.tag, prefix: prefix, piece)
        if id >= 0 {
          ids.append(id)
          return end.position
        }
      }
      return -1
    }

    @inline(__always)
    private func isTooLong(_ word: UnsafeBufferPointer<UInt8>) -> Bool {
      // As many bytes as scalars are allowed need no count.
      if word.count <= scalarLimit { return false }
      var scalars = 0
      for byte in word where byte & 0xC0 != 0x80 { scalars += 1 }
      return scalars > scalarLimit
    }
  }
}
