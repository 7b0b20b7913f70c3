/// Memory to write JSON into where every append of an array would count; what does not fit ends the process.
struct JSONRoom {
  /// The longest text of a float.
  static let floatBytes = FloatText.capacity

  /// The longest text of an integer.
  static let integerBytes = 20

  /// Bytes in a block.
  static let blockBytes = 16

  private let start: UnsafeMutablePointer<UInt8>
  private let end: UnsafeMutablePointer<UInt8>
  private var at: UnsafeMutablePointer<UInt8>

  init(_ memory: UnsafeMutableBufferPointer<UInt8>) {
    guard let base = memory.baseAddress else { preconditionFailure("JSON: no room at all") }
    start = base
    end = base + memory.count
    at = base
  }

  /// Bytes written.
  var count: Int { at - start }

  @inline(__always)
  mutating func append(_ json: StaticString) {
    let count = json.utf8CodeUnitCount
    UnsafeMutableRawPointer(place(count)).copyMemory(from: json.utf8Start, byteCount: count)
    at += count
  }

  mutating func append(_ json: UnsafeBufferPointer<UInt8>) {
    guard let from = json.baseAddress else { return }
    place(json.count).update(from: from, count: json.count)
    at += json.count
  }

  /// The same for a few dozen bytes, which cost less than a call where the last block may be a whole one: both what is
  /// read and the room are as long as that.
  @inline(__always)
  mutating func append(inBlocks json: UnsafePointer<UInt8>, _ count: Int) {
    typealias Block = SIMD16<UInt8>
    let (from, to) = (UnsafeRawPointer(json), UnsafeMutableRawPointer(place(count &+ Self.blockBytes)))
    var done = 0
    repeat {
      let block = from.loadUnaligned(fromByteOffset: done, as: Block.self)
      to.storeBytes(of: block, toByteOffset: done, as: Block.self)
      done &+= Self.blockBytes
    } while done < count
    at += count
  }

  mutating func append(_ number: Int) {
    let bytes = place(Self.integerBytes)
    var rest = number.magnitude
    var first = Self.integerBytes
    repeat {
      first -= 1
      bytes[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    if number < 0 {
      first -= 1
      bytes[first] = UInt8(ascii: "-")
    }
    bytes.update(from: bytes + first, count: Self.integerBytes - first)
    at += Self.integerBytes - first
  }

  /// The shortest digits that read back as the same float32; `null` where it is not finite.
  @inline(__always)
  mutating func append(_ number: Float) { append(FloatText(number)) }

  @inline(__always)
  mutating func append(_ number: FloatText) {
    number.write(to: place(Self.floatBytes))
    at += number.count
  }

  /// Where the next bytes go.
  @inline(__always)
  private func place(_ bytes: Int) -> UnsafeMutablePointer<UInt8> {
    guard bytes <= end - at else { preconditionFailure("JSON: no room left") }
    return at
  }
}
