/// The BERT normalisation: clean, set Chinese characters apart, strip accents, lower case, in that order.
struct BertNormalizer: Sendable, Equatable {
  let cleansText: Bool
  let separatesChinese: Bool
  let stripsAccents: Bool
  let lowercases: Bool

  private static let dropped: UInt8 = 0xFF
  /// What becomes of an ASCII byte, or `dropped`.
  private let asciiMap: [UInt8]

  init(cleansText: Bool, separatesChinese: Bool, stripsAccents: Bool, lowercases: Bool) {
    self.cleansText = cleansText
    self.separatesChinese = separatesChinese
    self.stripsAccents = stripsAccents
    self.lowercases = lowercases
    asciiMap = (0..<128).map { byte in
      let flags = UnicodeTables.shared.flags(UInt32(byte))
      if cleansText, flags.contains(.removed) { return Self.dropped }
      if cleansText, flags.contains(.space) { return 0x20 }
      return lowercases && byte >= 0x41 && byte <= 0x5A ? UInt8(byte) | 0x20 : UInt8(byte)
    }
  }

  /// Normalises a range of a text of valid UTF-8.
  func normalise(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> NormalizedText {
    var writer = Writer(normalizer: self, base: range.lowerBound)
    writer.output.bytes.reserveCapacity(range.count + 16)
    asciiMap.withUnsafeBufferPointer { map in
      var i = range.lowerBound
      while i < range.upperBound {
        let byte = text[i]
        if byte < 0x80 {
          let mapped = map[Int(byte)]
          if writer.isPlain, mapped != Self.dropped {
            writer.output.bytes.append(mapped)
          } else {
            writer.startSpans(at: i)
            writer.flush()
            if mapped != Self.dropped { writer.write(mapped, UInt64(i) << 32 | UInt64(i + 1)) }
          }
          i += 1
        } else {
          writer.startSpans(at: i)
          let (scalar, length) = UTF8Scalars.decode(text, at: i)
          writer.add(scalar, UInt64(i) << 32 | UInt64(i + length))
          i += length
        }
      }
    }
    writer.flush()
    return writer.output
  }

  /// Normalises what another step has made.
  func normalise(_ text: NormalizedText) -> NormalizedText {
    var result = text.bytes.withUnsafeBufferPointer { normalise($0, 0..<$0.count) }
    var text = text
    text.spread()
    result.spread()
    result.spans = result.spans.map { span in
      let (start, end) = (Int(span >> 32), Int(span & 0xFFFF_FFFF))
      let range = start < end ? text.original(start..<end) : text.base..<text.base
      return UInt64(range.lowerBound) << 32 | UInt64(range.upperBound)
    }
    var placed = NormalizedText(base: text.base)
    placed.bytes = result.bytes
    placed.spans = result.spans
    return placed
  }
}

extension BertNormalizer {
  /// The steps after ASCII's short cut, a scalar at a time; marks wait for canonical order.
  fileprivate struct Writer {
    let normalizer: BertNormalizer
    let tables = UnicodeTables.shared
    var output: NormalizedText
    /// Every byte so far stands for itself.
    var isPlain = true
    /// Marks since the last starter, in order of arrival.
    var marks: [Mark] = []
    /// Original ranges of the scalars those marks come from.
    var sources: [UInt64] = []
    /// Original range of the scalar last used up.
    var last: UInt64 = 0

    struct Mark {
      let scalar: UInt32
      /// Combining class, then arrival.
      let order: UInt64
      /// The first of its scalar's decomposition: it uses that scalar up.
      let isFirst: Bool
    }

    init(normalizer: BertNormalizer, base: Int) {
      self.normalizer = normalizer
      output = NormalizedText(base: base)
    }

    mutating func startSpans(at position: Int) {
      guard isPlain else { return }
      isPlain = false
      output.spans.reserveCapacity(output.bytes.capacity)
      for i in output.base..<position { output.spans.append(UInt64(i) << 32 | UInt64(i + 1)) }
    }

    mutating func write(_ byte: UInt8, _ span: UInt64) {
      output.bytes.append(byte)
      output.spans.append(span)
    }

    mutating func add(_ scalar: UInt32, _ span: UInt64) {
      let flags = tables.flags(scalar)
      if normalizer.cleansText {
        if flags.contains(.removed) { return }
        if flags.contains(.space) { return add(decomposing: 0x20, [], span) }
      }
      if normalizer.separatesChinese, flags.contains(.chinese) {
        add(decomposing: 0x20, [], span)
        add(decomposing: scalar, flags, span)
        add(decomposing: 0x20, [], span)
      } else {
        add(decomposing: scalar, flags, span)
      }
    }

    private mutating func add(decomposing scalar: UInt32, _ flags: UnicodeTables.Flags, _ span: UInt64) {
      guard normalizer.stripsAccents else { return lower(scalar, flags, span) }
      guard flags.contains(.decomposes) else {
        flush()
        last = span
        if !flags.contains(.mark) { lower(scalar, flags, span) }
        return
      }
      var isFirst = true
      tables.decompose(scalar) { part in
        let order = tables.combiningClass(part)
        if order == 0 {
          flush()
          if isFirst { last = span }
          strip(part)
        } else {
          if isFirst { sources.append(span) }
          marks.append(Mark(scalar: part, order: UInt64(order) << 56 | UInt64(marks.count), isFirst: isFirst))
        }
        isFirst = false
      }
    }

    /// Puts the waiting marks in canonical order. A mark takes the place of the scalar used up when it is its turn,
    /// not of its own: so does the library.
    mutating func flush() {
      guard !marks.isEmpty else { return }
      if marks.count > 1 { marks.sort { $0.order < $1.order } }
      var used = 0
      for mark in marks {
        if mark.isFirst {
          last = sources[used]
          used += 1
        }
        strip(mark.scalar)
      }
      marks.removeAll(keepingCapacity: true)
      sources.removeAll(keepingCapacity: true)
    }

    private mutating func strip(_ scalar: UInt32) {
      let flags = tables.flags(scalar)
      if !flags.contains(.mark) { lower(scalar, flags, last) }
    }

    private mutating func lower(_ scalar: UInt32, _ flags: UnicodeTables.Flags, _ span: UInt64) {
      if normalizer.lowercases, flags.contains(.lowers) {
        tables.lowercase(scalar) { append($0, span) }
      } else {
        append(scalar, span)
      }
    }

    private mutating func append(_ scalar: UInt32, _ span: UInt64) {
      UTF8Scalars.append(scalar, to: &output.bytes)
      while output.spans.count < output.bytes.count { output.spans.append(span) }
    }
  }
}
