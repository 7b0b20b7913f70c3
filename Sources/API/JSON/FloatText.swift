/// Float32 as the fewest decimal digits that read back as the same bits, written as `Float.description` writes them:
/// [Giulietti21] ("The Schubfach way to render doubles"), with the powers of ten computed at the start.
enum FloatText {
  /// Bytes of the longest text.
  static let capacity = 16

  /// Writes a finite number at `memory`, which has room for `capacity` bytes.
  ///
  /// - Returns: bytes written.
  static func write(_ number: Float, to memory: UnsafeMutablePointer<UInt8>) -> Int {
    var at = memory
    if number.sign == .minus {
      at.initialize(to: UInt8(ascii: "-"))
      at += 1
    }
    if number == 0 {
      at.put("0.0")
    } else {
      let (digits, exponent) = decimal(number)
      let count = digitCount(digits)
      // The point stands behind so many of the digits.
      let point = count + exponent
      if point > -4, number.magnitude <= 16_777_216 {
        at.positional(digits, count, point)
      } else {
        at.scientific(digits, count, point - 1)
      }
    }
    return at - memory
  }

  /// `number` = digits · 10^exponent, digits without zeros at the end. No sum or product here leaves 32 bits.
  @inline(__always)
  private static func decimal(_ number: Float) -> (digits: UInt32, exponent: Int) {
    let fraction = number.significandBitPattern
    let biased = Int(number.exponentBitPattern)
    let c = biased == 0 ? fraction : fraction | 1 << 23
    let q = max(biased, 1) &- 150
    if q <= 0, q > -24, c & ((1 &<< UInt32(truncatingIfNeeded: -q)) &- 1) == 0 {
      return trimmed(c &>> UInt32(truncatingIfNeeded: -q), 0)
    }
    // Neighbours below a power of two are half as far.
    let isUneven = fraction == 0 && biased > 1
    let k = (q &* 1_262_611 &- (isUneven ? 524_031 : 0)) >> 22
    let shift = UInt32(truncatingIfNeeded: q &+ (-k &* 1_741_647) >> 19 &+ 1)
    let power = powers[-k &- leastPower]
    let quadruple = c &<< 2
    let value = roundedToOdd(power, quadruple &<< shift)
    // The ends of the interval round to `number` where its last bit is even.
    let least = roundedToOdd(power, (quadruple &- (isUneven ? 1 : 2)) &<< shift) &+ (c & 1)
    let most = roundedToOdd(power, (quadruple &+ 2) &<< shift) &- (c & 1)
    // Where one multiple of ten lies in the interval it is shorter; else the nearer of two neighbours that do, or the
    // one that does. Chosen without a jump: no processor foresees it.
    let s = value >> 2
    let tens = s / 10
    let tensBelow = least <= 40 &* tens
    let tensAbove = 40 &* tens &+ 40 <= most
    let below = least <= s &<< 2
    let above = s &<< 2 &+ 4 <= most
    let middle = s &<< 2 &+ 2
    let isNearer = value > middle || value == middle && s & 1 == 1
    let one = s &+ ((below != above ? above : isNearer) ? 1 : 0)
    let isTens = s >= 10 && tensBelow != tensAbove
    return trimmed(isTens ? tens &+ (tensAbove ? 1 : 0) : one, k &+ (isTens ? 1 : 0))
  }

  @inline(__always)
  private static func trimmed(_ digits: UInt32, _ exponent: Int) -> (UInt32, Int) {
    var (digits, exponent) = (digits, exponent)
    while digits % 10 == 0 {
      digits /= 10
      exponent &+= 1
    }
    return (digits, exponent)
  }

  /// The upper half of the product, its last bit set where anything was cut off.
  @inline(__always)
  private static func roundedToOdd(_ power: UInt64, _ c: UInt32) -> UInt32 {
    let product = power.multipliedFullWidth(by: UInt64(c) &<< 32).high
    return UInt32(truncatingIfNeeded: product &>> 32) | (UInt32(truncatingIfNeeded: product) > 1 ? 1 : 0)
  }

  @inline(__always)
  private static func digitCount(_ digits: UInt32) -> Int {
    // Most have eight or nine.
    if digits >= 100_000_000 { return 9 }
    var count = 8
    var bound: UInt32 = 10_000_000
    while digits < bound {
      count &-= 1
      bound /= 10
    }
    return count
  }

  private static let leastPower = -31

  /// 10^k for k from -31 through 45 with 64 bits, the first set: rounded up where it is not exact.
  private static let powers: [UInt64] = {
    var powers: [UInt64] = []
    var negative: [UInt64] = []
    // 128 bits carry the rounding of 45 steps far below the 64 that are kept.
    var power = UInt128(1) << 127
    for _ in 0...45 {
      powers.append(head(power))
      // Times ten, shifted back to 128 bits: 10 = 1.25 · 8.
      let (sum, isOver) = power.addingReportingOverflow(power >> 2)
      power = isOver ? sum >> 1 | 1 << 127 : sum
    }
    power = UInt128(1) << 127
    for _ in 0..<31 {
      // Divided by ten: times 0.8, and the first bit set again.
      power = power / 5 * 4 + power % 5 * 4 / 5
      power <<= UInt128(power.leadingZeroBitCount)
      negative.append(head(power))
    }
    return negative.reversed() + powers
  }()

  /// `0.000000`, its first byte the lowest.
  fileprivate static let zeros: UInt64 = 0x3030_3030_3030_2e30

  /// 10^0 through 10^8.
  fileprivate static let tens: [UInt32] = [
    1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000,
  ]

  /// The text of a number below 10^8, its first digit in the lowest byte: halves, pairs and digits are parted in all
  /// lanes at once.
  @inline(__always)
  fileprivate static func eightDigits(_ value: UInt32) -> UInt64 {
    let halves = UInt64(value / 10_000) | UInt64(value % 10_000) &<< 32
    let hundreds = (halves &* 10_486) &>> 20 & 0x7f_0000_007f
    let pairs = hundreds | (halves &- 100 &* hundreds) &<< 16
    let tens = (pairs &* 103) &>> 10 & 0x0f_000f_000f_000f
    return (tens | (pairs &- 10 &* tens) &<< 8) &+ 0x3030_3030_3030_3030
  }

  private static func head(_ power: UInt128) -> UInt64 {
    let isExact = UInt64(truncatingIfNeeded: power) == 0
    return UInt64(power >> 64) + (isExact ? 0 : 1)
  }
}

extension UnsafeMutablePointer<UInt8> {
  fileprivate mutating func put(_ text: StaticString) {
    initialize(from: text.utf8Start, count: text.utf8CodeUnitCount)
    self += text.utf8CodeUnitCount
  }

  fileprivate mutating func zeros(_ count: Int) {
    for _ in 0..<count {
      self[0] = UInt8(ascii: "0")
      self += 1
    }
  }

  /// Exactly `count` digits, of nine at most; what stands up to eight bytes behind them is lost.
  @inline(__always)
  fileprivate mutating func digits(_ value: UInt32, _ count: Int) {
    var (at, rest) = (self, value)
    if count == 9 {
      at[0] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value / 100_000_000)
      at += 1
      rest = value % 100_000_000
    } else {
      rest &*= FloatText.tens[8 &- count]
    }
    UnsafeMutableRawPointer(at).storeBytes(of: FloatText.eightDigits(rest), as: UInt64.self)
    self += count
  }

  /// `12.5`, `0.0125`, `1250.0`.
  @inline(__always)
  fileprivate mutating func positional(_ digits: UInt32, _ count: Int, _ point: Int) {
    if point <= 0 {
      // At most three zeros behind the point.
      UnsafeMutableRawPointer(self).storeBytes(of: FloatText.zeros, as: UInt64.self)
      self += 2 &- point
      self.digits(digits, count)
    } else if point >= count {
      self.digits(digits, count)
      zeros(point - count)
      put(".0")
    } else {
      // The digits, then those behind the point moved one place.
      let start = self
      self.digits(digits, count)
      (start + point + 1).update(from: start + point, count: count - point)
      start[point] = UInt8(ascii: ".")
      self += 1
    }
  }

  /// `1e-05`, `1.25e+09`.
  fileprivate mutating func scientific(_ digits: UInt32, _ count: Int, _ exponent: Int) {
    if count == 1 { self.digits(digits, 1) } else { positional(digits, count, 1) }
    put(exponent < 0 ? "e-" : "e+")
    let magnitude = UInt8(truncatingIfNeeded: exponent.magnitude)
    self[0] = UInt8(ascii: "0") &+ magnitude / 10
    self[1] = UInt8(ascii: "0") &+ magnitude % 10
    self += 2
  }
}
