/// Bytes of a piece of text after normalisation, each with the original bytes it stands for.
struct NormalizedText: Sendable {
  var bytes: [UInt8] = []
  /// Original range of each byte's scalar, `start << 32 | end`; empty while every byte stands for itself.
  var spans: [UInt64] = []
  /// Where the piece begins in the text.
  let base: Int

  init(base: Int) { self.base = base }

  /// A range of a text as it is.
  init(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
    base = range.lowerBound
    bytes = Array(text[range])
  }

  /// The original range of a non-empty range of bytes that begins and ends between scalars.
  @inline(__always)
  func original(_ range: Range<Int>) -> Range<Int> {
    if spans.isEmpty { return base + range.lowerBound..<base + range.upperBound }
    let start = Int(spans[range.lowerBound] >> 32)
    // Reordered marks may end before they start.
    return start..<max(start, Int(spans[range.upperBound - 1] & 0xFFFF_FFFF))
  }

  /// The original range of the scalars that a non-empty range of bytes touches.
  @inline(__always)
  func originalOfScalars(_ range: Range<Int>) -> Range<Int> {
    guard spans.isEmpty else { return original(range) }
    var start = range.lowerBound
    var end = range.upperBound
    while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end += 1 }
    return base + start..<base + end
  }

  /// Gives every byte the span of its scalar.
  mutating func spread() {
    guard spans.isEmpty, !bytes.isEmpty else { return }
    spans.reserveCapacity(bytes.count)
    var start = 0
    while start < bytes.count {
      var end = start + 1
      while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end += 1 }
      spans.append(
        contentsOf: repeatElement(UInt64(base + start) << 32 | UInt64(base + end), count: end - start))
      start = end
    }
  }

  /// Part of the text, as a text of its own.
  func slice(_ range: Range<Int>) -> NormalizedText {
    if range == 0..<bytes.count { return self }
    var slice = NormalizedText(base: base + range.lowerBound)
    slice.bytes = Array(bytes[range])
    if !spans.isEmpty { slice.spans = Array(spans[range]) }
    return slice
  }

  /// Puts bytes before the text; they stand for its first scalar.
  mutating func prepend(_ prefix: [UInt8]) {
    guard !bytes.isEmpty else { return }
    spread()
    spans.insert(contentsOf: repeatElement(spans[0], count: prefix.count), at: 0)
    bytes.insert(contentsOf: prefix, at: 0)
  }

  /// Keeps a range.
  mutating func keep(_ range: Range<Int>) {
    guard range != 0..<bytes.count else { return }
    spread()
    bytes = Array(bytes[range])
    spans = Array(spans[range])
  }

  /// Puts bytes in the place of each range; they stand for the last scalar of what they replace.
  ///
  /// - Parameter ranges: in order, apart from each other, not empty.
  mutating func replace(_ ranges: [Range<Int>], with content: [UInt8]) {
    guard !ranges.isEmpty else { return }
    spread()
    var result = NormalizedText(base: base)
    var done = 0
    for range in ranges {
      result.bytes += bytes[done..<range.lowerBound]
      result.spans += spans[done..<range.lowerBound]
      result.bytes += content
      result.spans += repeatElement(spans[range.upperBound - 1], count: content.count)
      done = range.upperBound
    }
    result.bytes += bytes[done...]
    result.spans += spans[done...]
    self = result
  }

  /// Calls `body` with each scalar.
  func forEachScalar(_ body: (UInt32) -> Void) {
    bytes.withUnsafeBufferPointer { bytes in
      var i = 0
      while i < bytes.count {
        let (scalar, length) = UTF8Scalars.decode(bytes, at: i)
        body(scalar)
        i += length
      }
    }
  }
}

extension NormalizedText {
  /// A text written anew scalar by scalar, alignment as the `tokenizers` library keeps it.
  struct Rewriter {
    private let old: NormalizedText
    private var new: NormalizedText
    private var position: Int

    /// - Parameter skipping: scalars dropped before the first that is written.
    init(_ text: NormalizedText, skipping: Int = 0) {
      var text = text
      text.spread()
      old = text
      new = NormalizedText(base: text.base)
      new.bytes.reserveCapacity(text.bytes.count + 16)
      new.spans.reserveCapacity(text.bytes.count + 16)
      position = 0
      for _ in 0..<skipping { skip() }
    }

    private mutating func skip() {
      guard position < old.bytes.count else { return }
      position += 1
      while position < old.bytes.count, old.bytes[position] & 0xC0 == 0x80 { position += 1 }
    }

    /// Writes a scalar: in the place of the next old one and `-change` more, or, where `change` is 1, beside the last.
    mutating func write(_ scalar: UInt32, _ change: Int) {
      let none = UInt64(old.base) << 32 | UInt64(old.base)
      let span: UInt64
      if change > 0 {
        span = position > 0 ? old.spans[position - 1] : none
      } else {
        span = position < old.spans.count ? old.spans[position] : old.spans.last ?? none
        for _ in 0...(-change) { skip() }
      }
      UTF8Scalars.append(scalar, to: &new.bytes)
      while new.spans.count < new.bytes.count { new.spans.append(span) }
    }

    consuming func finish() -> NormalizedText { new }
  }
}
