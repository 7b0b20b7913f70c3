#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// xoshiro256** (Blackman and Vigna, doi 10.1145/3460772), its state filled by SplitMix64. The same seed and
/// stream give the same values on every machine. Not for secrets.
public struct RandomSource: Sendable, Equatable, RandomNumberGenerator {
  /// Four words, not all zero: all there is to save and restore.
  public var state: [UInt64]

  /// Streams of one seed are independent of each other.
  public init(seed: UInt64, stream: UInt64 = 0) {
    var mixed = SplitMix64(state: stream)
    var words = SplitMix64(state: seed ^ (stream == 0 ? 0 : mixed.next()))
    state = (0..<4).map { _ in words.next() }
  }

  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    let result = Self.rotated(state[1] &* 5, by: 7) &* 9
    let shifted = state[1] << 17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = Self.rotated(state[3], by: 45)
    return result
  }

  /// In 0..<1, 24 bits of it.
  public mutating func uniform() -> Float { Float(next() >> 40) * 0x1p-24 }

  /// Of the standard normal distribution, by Marsaglia's polar method; the pair's second value is dropped so
  /// that the four words stay the whole state.
  public mutating func normal() -> Float {
    while true {
      let x = Double(next() >> 11) * 0x1p-52 - 1
      let y = Double(next() >> 11) * 0x1p-52 - 1
      let square = x * x + y * y
      if square > 0 && square < 1 { return Float(x * (-2 * log(square) / square).squareRoot()) }
    }
  }

  /// In 0..<bound, without bias (Lemire, arXiv 1805.10941).
  public mutating func below(_ bound: Int) -> Int {
    precondition(bound > 0, "random: bound")
    let wide = UInt64(bound)
    let least = (0 &- wide) % wide
    while true {
      let (high, low) = next().multipliedFullWidth(by: wide)
      if low >= least { return Int(high) }
    }
  }

  /// Fisher and Yates's shuffle.
  public mutating func shuffle<C: MutableCollection & RandomAccessCollection>(_ items: inout C)
  where C.Index == Int {
    guard items.count > 1 else { return }
    for last in stride(from: items.count - 1, through: 1, by: -1) {
      items.swapAt(items.startIndex + last, items.startIndex + below(last + 1))
    }
  }

  /// 0..<count in a random order.
  public mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    shuffle(&order)
    return order
  }

  private static func rotated(_ word: UInt64, by bits: UInt64) -> UInt64 {
    word << bits | word >> (64 - bits)
  }
}

/// The generator that Vigna recommends for seeding.
private struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
