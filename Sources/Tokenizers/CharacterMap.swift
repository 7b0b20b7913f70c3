/// SentencePiece's compiled map from short texts to what takes their place.
///
/// A double-array trie of 32-bit units, then the texts it points to, each ended by a zero byte; in base64 in the file.
struct CharacterMap: Sendable, Equatable {
  private let units: [UInt32]
  private let texts: [UInt8]

  /// - Throws: `TokenizerError.wrongType` for what is not base64 or not such a map.
  init(base64 member: JSONMember) throws(TokenizerError) {
    guard let bytes = Base64.decode(try member.bytes()), bytes.count >= 4 else {
      throw .wrongType(path: member.path, expected: "base64 of a character map")
    }
    func unit(_ i: Int) -> UInt32 {
      UInt32(bytes[i]) | UInt32(bytes[i + 1]) << 8 | UInt32(bytes[i + 2]) << 16 | UInt32(bytes[i + 3]) << 24
    }
    let size = Int(unit(0))
    guard size % 4 == 0, size <= bytes.count - 4 else {
      throw .wrongType(path: member.path, expected: "base64 of a character map")
    }
    units = stride(from: 4, to: 4 + size, by: 4).map(unit)
    texts = Array(bytes[(4 + size)...])
    // What a place holds is checked where it is used; the whole is text.
    guard
      texts.withUnsafeBufferPointer({ texts in
        var i = 0
        while i < texts.count {
          let length = UTF8Scalars.validLength(texts, at: i)
          if length == 0 { return false }
          i += length
        }
        return true
      })
    else { throw .wrongType(path: member.path, expected: "a character map of UTF-8") }
  }

  func apply(to text: inout NormalizedText) {
    var changes: [(scalar: UInt32, change: Int)] = []
    var isChanged = false
    text.bytes.withUnsafeBufferPointer { bytes in
      GraphemeBreaks.forEach(bytes) { cluster in
        // A longer cluster is taken scalar by scalar, as the library does.
        if cluster.count < 6, let content = find(bytes, cluster) {
          isChanged = true
          return replace(bytes, cluster, with: content, &changes)
        }
        var i = cluster.lowerBound
        while i < cluster.upperBound {
          let (scalar, length) = UTF8Scalars.decode(bytes, at: i)
          if let content = find(bytes, i..<i + length) {
            isChanged = true
            replace(bytes, i..<i + length, with: content, &changes)
          } else {
            changes.append((scalar, 0))
          }
          i += length
        }
      }
    }
    guard isChanged else { return }
    var rewriter = NormalizedText.Rewriter(text)
    for (scalar, change) in changes { rewriter.write(scalar, change) }
    text = rewriter.finish()
  }

  private func replace(
    _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, with content: Range<Int>,
    _ changes: inout [(scalar: UInt32, change: Int)]
  ) {
    let old = bytes[range].count { $0 & 0xC0 != 0x80 }
    var new = 0
    texts.withUnsafeBufferPointer { texts in
      var i = content.lowerBound
      while i < content.upperBound {
        let (scalar, length) = UTF8Scalars.decode(texts, at: i)
        changes.append((scalar, 0))
        new += 1
        i += length
      }
    }
    if new > old {
      for i in changes.count - (new - old)..<changes.count { changes[i].change = 1 }
    } else if new < old, !changes.isEmpty {
      changes[changes.count - 1].change -= old - new
    }
  }

  /// The content for the shortest key that a range begins with.
  private func find(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Range<Int>? {
    guard let root = units.first else { return nil }
    var node = Int(Self.offset(root))
    for i in range {
      let byte = UInt32(bytes[i])
      // A zero ends a key.
      guard byte != 0 else { return nil }
      node ^= Int(byte)
      guard node < units.count else { return nil }
      let unit = units[node]
      // The label has the leaf's sign bit, so that a leaf is no child.
      guard unit & (1 << 31 | 0xFF) == byte else { return nil }
      node ^= Int(Self.offset(unit))
      if unit >> 8 & 1 == 1 {
        guard node < units.count else { return nil }
        return text(at: Int(units[node] & 0x7FFF_FFFF))
      }
    }
    return nil
  }

  private static func offset(_ unit: UInt32) -> UInt32 { (unit >> 10) << ((unit & (1 << 9)) >> 6) }

  private func text(at start: Int) -> Range<Int>? {
    guard start < texts.count, texts[start] & 0xC0 != 0x80 else { return nil }
    var end = start
    while end < texts.count, texts[end] != 0 { end += 1 }
    return start..<end
  }
}

/// Grapheme clusters of a text.
enum GraphemeBreaks {
  /// Gives the byte range of each cluster of valid UTF-8.
  static func forEach(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
    let text = String(decoding: bytes, as: UTF8.self)
    var start = 0
    for character in text {
      let end = start + character.utf8.count
      body(start..<end)
      start = end
    }
  }
}
