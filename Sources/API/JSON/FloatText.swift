/// Float32 as the fewest decimal digits that read back as the same bits, written as `Float.description` writes them:
/// [Giulietti21] ("The Schubfach way to render doubles"), with the powers of ten computed at the start. Numbers as scores
/// are need no rounded power: 64 bits hold all that is reckoned.
struct FloatText {
  /// Bytes of the longest text.
  static let capacity = 16

  /// The text, its first byte the lowest; what stands behind it has no meaning.
  private var low: UInt64
  private var high: UInt64
  let count: Int

  /// The text of a number; `null`, as JSON has no other, where it is not finite.
  @inline(__always)
  init(_ number: Float) {
    if Self.fractions.contains(number.exponentBitPattern), number.significandBitPattern != 0 {
      self.init(fraction: number)
    } else {
      self.init(any: number)
    }
  }

  /// Writes it, and up to `capacity` bytes in all.
  @inline(__always)
  func write(to memory: UnsafeMutablePointer<UInt8>) {
    let memory = UnsafeMutableRawPointer(memory)
    memory.storeBytes(of: low, as: UInt64.self)
    memory.storeBytes(of: high, toByteOffset: 8, as: UInt64.self)
  }

  @inline(never)
  private init(any number: Float) {
    var words: (UInt64, UInt64) = (0, 0)
    count = withUnsafeMutableBytes(of: &words) { bytes in
      bytes.withMemoryRebound(to: UInt8.self) { $0.baseAddress.map { Self.write(number, to: $0) } ?? 0 }
    }
    low = UInt64(littleEndian: words.0)
    high = UInt64(littleEndian: words.1)
  }

  private static func write(_ number: Float, to memory: UnsafeMutablePointer<UInt8>) -> Int {
    var at = memory
    if number.sign == .minus {
      at.initialize(to: UInt8(ascii: "-"))
      at += 1
    }
    if !number.isFinite {
      at = memory
      at.put("null")
    } else if number == 0 {
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

  /// Exponents of numbers from 2^-13 up to 1.
  private static let fractions: ClosedRange<UInt> = 114...126

  /// Such a number, no power of two. No jump depends on its digits, which no processor foresees.
  @inline(__always)
  private init(fraction number: Float) {
    // |number| · 10^places = scaled / 2^bits, exactly; neighbours are power / 2^bits apart, which is 1/10 to 1.
    let c = UInt64(number.significandBitPattern | 1 << 23)
    let exponent = number.exponentBitPattern
    let bits = 150 &- UInt64(exponent)
    let power = Self.scales[Int(126 &- exponent)]
    let places = Int((bits &* 1_233) &>> 12)
    let scaled = c &* power
    let whole = scaled &>> bits
    let rest = scaled &- whole &<< bits
    // Whole numbers that read back as the same: those at most power / 2 away; not at that distance if c is odd.
    let isAbove = ((1 &<< (bits &+ 1)) &- 1 &- power &- 2 &* rest &+ (c & 1)) &>> 63
    let isBelow = (2 &* rest &+ (c & 1) &- power &- 1) &>> 63
    let isWhole = isAbove | isBelow
    // Else one digit more, the nearest, the even one of two.
    let tenths = 10 &* rest
    let digit = (tenths &+ (1 &<< (bits &- 1)) &- 1 &+ (tenths &>> bits & 1)) &>> bits
    // `0.`, zeros where they come before the eight digits, and the digits added to zeros.
    let digits = Self.eightDigits(UInt32(truncatingIfNeeded: whole &+ isAbove))
    let start = places &- 6
    let shift = UInt64(start &* 8)
    low = Self.zeros &+ digits &<< shift
    high = Self.allZeros &+ digits &>> (64 &- shift) &+ (digit & (isWhole &- 1)) &<< shift
    let zeros = digits.leadingZeroBitCount &>> 3
    var count = start &+ 9 &- Int(isWhole) &* (1 &+ zeros)
    if number.sign == .minus {
      high = high &<< 8 | low &>> 56
      low = low &<< 8 | UInt64(UInt8(ascii: "-"))
      count &+= 1
    }
    self.count = count
  }

  /// 10^places by the exponent, falling from 126.
  private static let scales: [UInt64] = [
    10_000_000, 10_000_000, 10_000_000, 100_000_000, 100_000_000, 100_000_000, 1_000_000_000, 1_000_000_000,
    1_000_000_000, 1_000_000_000, 10_000_000_000, 10_000_000_000, 10_000_000_000,
  ]

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

  /// `00000000`.
  fileprivate static let allZeros: UInt64 = 0x3030_3030_3030_3030

  /// 10^0 through 10^8.
  fileprivate static let tens: [UInt32] = [
    1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000,
  ]

  /// The digits of a number below 10^8, the first in the lowest byte: halves, pairs and digits are parted in all
  /// lanes at once.
  @inline(__always)
  fileprivate static func eightDigits(_ value: UInt32) -> UInt64 {
    let halves = UInt64(value / 10_000) | UInt64(value % 10_000) &<< 32
    let hundreds = (halves &* 10_486) &>> 20 & 0x7f_0000_007f
    let pairs = hundreds | (halves &- 100 &* hundreds) &<< 16
    let tens = (pairs &* 103) &>> 10 & 0x0f_000f_000f_000f
    return tens | (pairs &- 10 &* tens) &<< 8
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
    UnsafeMutableRawPointer(at).storeBytes(
      of: FloatText.allZeros &+ FloatText.eightDigits(rest), as: UInt64.self)
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
