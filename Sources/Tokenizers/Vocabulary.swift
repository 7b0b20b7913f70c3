/// Tokens and ids, keyed by bytes: one flat table, linear probing, no `String`.
struct Vocabulary: Sendable {
  /// One more than the greatest id.
  private(set) var count = 0
  /// Length of the longest token.
  private(set) var longest = 0
  private var slots: [Slot] = []
  private var mask = 0
  private var places: [Place] = []
  private var text: [UInt8] = []

  fileprivate struct Slot {
    var tag: UInt32
    var id: Int32
  }

  /// Where an id's bytes are in `text`; length -1 for an id not in use.
  fileprivate struct Place {
    var start: Int32
    var length: Int32
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
    places = [Place](repeating: Place(start: 0, length: -1), count: count)
    text.reserveCapacity(entries.reduce(0) { $0 + $1.token.count })
    for (token, id) in entries {
      guard self.id(of: token) == nil else {
        throw .duplicate(path: path, name: String(decoding: token, as: UTF8.self))
      }
      guard places[Int(id)].length < 0 else { throw .duplicate(path: path, name: "id \(id)") }
      var hash = Hash()
      for byte in token { hash.add(byte) }
      places[Int(id)] = Place(start: Int32(text.count), length: Int32(token.count))
      text += token
      longest = max(longest, token.count)
      var slot = Int(hash.tag) & mask
      while slots[slot].id >= 0 { slot = (slot + 1) & mask }
      slots[slot] = Slot(tag: hash.tag, id: id)
    }
  }

  /// The table as pointers, for a text's worth of look-ups; not to outlive the closure.
  func withReader<R>(_ body: (Reader) -> R) -> R {
    slots.withUnsafeBufferPointer { slots in
      places.withUnsafeBufferPointer { places in
        text.withUnsafeBufferPointer { text in
          body(Reader(slots: slots, places: places, text: text, mask: mask))
        }
      }
    }
  }

  struct Reader {
    fileprivate let slots: UnsafeBufferPointer<Slot>
    fileprivate let places: UnsafeBufferPointer<Place>
    fileprivate let text: UnsafeBufferPointer<UInt8>
    fileprivate let mask: Int

    /// The id of the token `prefix` + `bytes`, whose hash is given; -1 where there is none.
    @inline(__always)
    func find(tag: UInt32, prefix: UnsafeBufferPointer<UInt8>, _ bytes: UnsafeBufferPointer<UInt8>) -> Int32 {
      var slot = Int(tag) & mask
      while true {
        let entry = slots[slot]
        if entry.id < 0 { return -1 }
        if entry.tag == tag, matches(entry.id, prefix, bytes) { return entry.id }
        slot = (slot + 1) & mask
      }
    }

    @inline(__always)
    private func matches(
      _ id: Int32, _ prefix: UnsafeBufferPointer<UInt8>, _ bytes: UnsafeBufferPointer<UInt8>
    ) -> Bool {
      let place = places[Int(id)]
      guard Int(place.length) == prefix.count + bytes.count else { return false }
      var position = Int(place.start)
      for byte in prefix {
        if text[position] != byte { return false }
        position += 1
      }
      for byte in bytes {
        if text[position] != byte { return false }
        position += 1
      }
      return true
    }
  }

  func id(of token: some Sequence<UInt8>) -> Int32? {
    let bytes = Array(token)
    var hash = Hash()
    for byte in bytes { hash.add(byte) }
    let none = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    let id = bytes.withUnsafeBufferPointer { bytes in
      withReader { $0.find(tag: hash.tag, prefix: none, bytes) }
    }
    return id < 0 ? nil : id
  }

  func token(_ id: Int32) -> ArraySlice<UInt8>? {
    guard id >= 0, id < count, places[Int(id)].length >= 0 else { return nil }
    let place = places[Int(id)]
    return text[Int(place.start)..<Int(place.start + place.length)]
  }
}
