/// Memory to write JSON into where every append of an array would count; what does not fit ends the process.
struct JSONRoom {
  /// The longest text of a float.
  static let floatBytes = FloatText.capacity

  /// The longest text of an integer.
  static let integerBytes = 20

  private let memory: UnsafeMutableBufferPointer<UInt8>
  /// Bytes written.
  private(set) var count = 0

  init(_ memory: UnsafeMutableBufferPointer<UInt8>) { self.memory = memory }

  mutating func append(_ json: StaticString) {
    append(UnsafeBufferPointer(start: json.utf8Start, count: json.utf8CodeUnitCount))
  }

  mutating func append(_ json: UnsafeBufferPointer<UInt8>) {
    guard let from = json.baseAddress else { return }
    Self.copy(json.count, from, to: place(json.count))
    count += json.count
  }

  mutating func append(_ number: Int) {
    let bytes = place(Self.integerBytes)
    var rest = number.magnitude
    var at = Self.integerBytes
    repeat {
      at -= 1
      bytes[at] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    if number < 0 {
      at -= 1
      bytes[at] = UInt8(ascii: "-")
    }
    bytes.update(from: bytes + at, count: Self.integerBytes - at)
    count += Self.integerBytes - at
  }

  /// The shortest digits that read back as the same float32; `null` where it is not finite.
  ///
  /// - Returns: where it stands, for `repeat`.
  @discardableResult
  mutating func append(_ number: Float) -> Range<Int> {
    let start = count
    if number.isFinite {
      count += FloatText.write(number, to: place(Self.floatBytes))
    } else {
      append("null")
    }
    return start..<count
  }

  /// Writes what stands there once more.
  mutating func `repeat`(_ range: Range<Int>) { append(UnsafeBufferPointer(rebasing: memory[range])) }

  /// Where the next bytes go.
  private func place(_ bytes: Int) -> UnsafeMutablePointer<UInt8> {
    guard let base = memory.baseAddress, bytes <= memory.count - count else {
      preconditionFailure("JSON: no room left")
    }
    return base + count
  }

  /// Most pieces are a few dozen bytes: sixteen at a time, the last ones overlapping, cost less than a call.
  @inline(__always)
  private static func copy(_ count: Int, _ from: UnsafePointer<UInt8>, to: UnsafeMutablePointer<UInt8>) {
    typealias Block = SIMD16<UInt8>
    let (source, target) = (UnsafeRawPointer(from), UnsafeMutableRawPointer(to))
    guard (16...128).contains(count) else { return target.copyMemory(from: source, byteCount: count) }
    var at = 0
    while at + 16 <= count {
      target.storeBytes(
        of: source.loadUnaligned(fromByteOffset: at, as: Block.self), toByteOffset: at, as: Block.self)
      at += 16
    }
    target.storeBytes(
      of: source.loadUnaligned(fromByteOffset: count - 16, as: Block.self), toByteOffset: count - 16,
      as: Block.self)
  }
}
