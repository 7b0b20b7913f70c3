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
  }

  static let shared = UnicodeTables()

  /// Block of each 128 scalars; then the blocks, equal ones once.
  private let blocks: [UInt16]
  private let flags: [UInt16]
  private let classes: [UInt32: UInt8]
  private let decompositions: [UInt32: [UInt32]]
  private let lowered: [UInt32: [UInt32]]

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
    self.classes = classes
    for scalar in decompositions.keys { all[Int(scalar)] |= Flags.decomposes.rawValue }
    for scalar in 0xAC00..<0xD7A4 { all[scalar] |= Flags.decomposes.rawValue }
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
  private var bytes: [UInt8] = []
  private var position = 0

  init(base64 text: StaticString) {
    bytes.reserveCapacity(text.utf8CodeUnitCount * 3 / 4)
    var bits: UInt32 = 0
    var count = 0
    for byte in UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount) {
      let value: UInt8
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      default: continue
      }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
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
