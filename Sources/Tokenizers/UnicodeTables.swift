/// What the `tokenizers` library knows of each scalar, decoded once.
///
/// Its Unicode version is not Swift's, and differs between its own steps; the tables are asked of the library itself by
/// `Tests/Goldens/generate_unicode_tables.py`.
final class UnicodeTables: Sendable {
  /// Properties of a scalar, one bit a step that asks.
  struct Flags: OptionSet {
    let rawValue: UInt16
    /// clean_text drops it.
    static let removed = Flags(rawValue: 1)
    /// clean_text makes it a space.
    static let space = Flags(rawValue: 2)
    /// handle_chinese_chars puts spaces around it.
    static let chinese = Flags(rawValue: 4)
    /// A nonspacing mark, which strip_accents drops.
    static let mark = Flags(rawValue: 8)
    /// The pre-tokenizer makes it a word of its own.
    static let punctuation = Flags(rawValue: 16)
    /// The pre-tokenizer splits at it.
    static let whitespace = Flags(rawValue: 32)
    /// `\w` beside an added token that must stand alone.
    static let word = Flags(rawValue: 64)
    /// `\s` beside an added token that takes the space around it.
    static let regexSpace = Flags(rawValue: 128)
    /// It has a decomposition or a combining class.
    static let decomposes = Flags(rawValue: 256)
    /// It has a lower case.
    static let lowers = Flags(rawValue: 512)
    /// `\p{L}` of the expressions that split.
    static let letter = Flags(rawValue: 1024)
    /// `\p{N}` of the expressions that split.
    static let number = Flags(rawValue: 2048)
    /// `\s` of the expressions that split.
    static let patternSpace = Flags(rawValue: 4096)
    /// What Digits sets apart.
    static let digit = Flags(rawValue: 8192)
    /// A combining mark of any kind, which StripAccents drops.
    static let combining = Flags(rawValue: 16384)
    /// It has a compatibility decomposition of its own.
    static let decomposesCompatibly = Flags(rawValue: 32768)
  }

  static let shared = UnicodeTables()

  /// Block of each 128 scalars; then the blocks, equal ones once.
  private let blocks: [UInt16]
  private let flags: [UInt16]
  private let classes: [UInt32: UInt8]
  private let decompositions: [UInt32: [UInt32]]
  private let lowered: [UInt32: [UInt32]]
  private let compatible: [UInt32: [UInt32]]
  /// Composed scalars by the two they are made of, first << 32 | second.
  private let composed: [UInt64: UInt32]

  private init() {
    var reader = TableReader(base64: UnicodeTables.data)
    var all = [UInt16](repeating: 0, count: 0x110000)
    reader.runs { range, value in
      for scalar in range { all[scalar] = UInt16(truncatingIfNeeded: value) }
    }
    var classes: [UInt32: UInt8] = [:]
    reader.runs { range, value in
      guard value != 0 else { return }
      for scalar in range {
        classes[UInt32(scalar)] = UInt8(truncatingIfNeeded: value)
        all[scalar] |= Flags.decomposes.rawValue
      }
    }
    decompositions = reader.mapping()
    lowered = reader.mapping()
    compatible = reader.mapping()
    var composed: [UInt64: UInt32] = [:]
    for (scalar, parts) in reader.mapping() { composed[UInt64(parts[0]) << 32 | UInt64(parts[1])] = scalar }
    self.composed = composed
    self.classes = classes
    for scalar in decompositions.keys { all[Int(scalar)] |= Flags.decomposes.rawValue }
    for scalar in 0xAC00..<0xD7A4 { all[scalar] |= Flags.decomposes.rawValue }
    for scalar in compatible.keys { all[Int(scalar)] |= Flags.decomposesCompatibly.rawValue }
    for scalar in lowered.keys { all[Int(scalar)] |= Flags.lowers.rawValue }
    var blocks: [UInt16] = []
    var flags: [UInt16] = []
    var known: [[UInt16]: UInt16] = [:]
    for start in stride(from: 0, to: all.count, by: 128) {
      let block = Array(all[start..<start + 128])
      if let index = known[block] {
        blocks.append(index)
      } else {
        let index = UInt16(flags.count / 128)
        known[block] = index
        flags += block
        blocks.append(index)
      }
    }
    self.blocks = blocks
    self.flags = flags
  }

  /// The properties of a scalar below 0x110000.
  @inline(__always)
  func flags(_ scalar: UInt32) -> Flags {
    Flags(rawValue: flags[Int(blocks[Int(scalar >> 7)]) << 7 | Int(scalar & 127)])
  }

  /// The properties as pointers, for a text's worth of look-ups; not to outlive the closure.
  func withReader<R>(_ body: (Reader) -> R) -> R {
    blocks.withUnsafeBufferPointer { blocks in
      flags.withUnsafeBufferPointer { flags in body(Reader(blocks: blocks, flags: flags)) }
    }
  }

  struct Reader {
    fileprivate let blocks: UnsafeBufferPointer<UInt16>
    fileprivate let flags: UnsafeBufferPointer<UInt16>

    @inline(__always)
    func flags(_ scalar: UInt32) -> Flags {
      Flags(rawValue: flags[Int(blocks[Int(scalar >> 7)]) << 7 | Int(scalar & 127)])
    }
  }

  /// Canonical combining class.
  func combiningClass(_ scalar: UInt32) -> UInt8 { classes[scalar] ?? 0 }

  /// Calls `body` with each scalar of the full canonical decomposition, in order.
  func decompose(_ scalar: UInt32, _ body: (UInt32) -> Void) {
    if scalar >= 0xAC00, scalar < 0xD7A4 {
      // Unicode 3.12, arithmetic decomposition of Hangul syllables
      let index = scalar - 0xAC00
      body(0x1100 + index / 588)
      body(0x1161 + index % 588 / 28)
      if index % 28 != 0 { body(0x11A7 + index % 28) }
    } else if let parts = decompositions[scalar] {
      for part in parts { body(part) }
    } else {
      body(scalar)
    }
  }

  /// Calls `body` with each scalar of the full compatibility decomposition of one that has its own.
  func decomposeCompatibly(_ scalar: UInt32, _ body: (UInt32) -> Void) {
    guard let parts = compatible[scalar] else { return decompose(scalar, body) }
    for part in parts { body(part) }
  }

  /// The scalar that two make together.
  func compose(_ first: UInt32, _ second: UInt32) -> UInt32? {
    // Unicode 3.12, arithmetic composition of Hangul syllables
    if first >= 0x1100, first < 0x1113, second >= 0x1161, second < 0x1176 {
      return 0xAC00 + ((first - 0x1100) * 21 + second - 0x1161) * 28
    }
    if first >= 0xAC00, first < 0xD7A4, (first - 0xAC00) % 28 == 0, second > 0x11A7, second < 0x11C3 {
      return first + second - 0x11A7
    }
    return composed[UInt64(first) << 32 | UInt64(second)]
  }

  /// The lower case of a scalar that has one; itself otherwise.
  func lowercase(_ scalar: UInt32, _ body: (UInt32) -> Void) {
    if let parts = lowered[scalar] {
      for part in parts { body(part) }
    } else {
      body(scalar)
    }
  }
}

/// Reads the generated tables: base64 of LEB128 numbers.
private struct TableReader {
  private let bytes: [UInt8]
  private var position = 0

  init(base64 text: StaticString) {
    bytes = Base64.decode(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)) ?? []
  }

  mutating func number() -> Int {
    var value = 0
    var shift = 0
    while true {
      let byte = bytes[position]
      position += 1
      value |= Int(byte & 0x7F) << shift
      shift += 7
      if byte < 0x80 { return value }
    }
  }

  mutating func runs(_ body: (Range<Int>, Int) -> Void) {
    var start = 0
    while true {
      let length = number()
      if length == 0 { return }
      body(start..<start + length, number())
      start += length
    }
  }

  mutating func mapping() -> [UInt32: [UInt32]] {
    var table: [UInt32: [UInt32]] = [:]
    var key = 0
    for _ in 0..<number() {
      key += number()
      var parts: [UInt32] = []
      for _ in 0..<number() {
        let step = number()
        parts.append(UInt32(key + (step & 1 == 0 ? step / 2 : -(step + 1) / 2)))
      }
      table[UInt32(key)] = parts
    }
    return table
  }
}
