/// A number as it was written; converted when a field asks for it.
public struct JSONNumber: Sendable, Equatable {
  /// RFC 8259 §6, checked.
  public let text: String

  init(checked text: String) { self.text = text }

  /// A number out of other text, a CSV cell; nil where the text is not a JSON number.
  public init?(_ text: String) {
    guard case .number(let number)? = try? JSONReader.read(Array(text.utf8)), number.text == text else {
      return nil
    }
    self = number
  }

  /// The nearest double; infinite beyond its range.
  public var double: Double {
    if let exact { return exact }
    return Double(text) ?? .nan
  }

  /// The nearest float32; infinite beyond its range.
  public var float: Float {
    let wide = double
    // Rounding twice errs only where the double lies half-way between two floats, or where floats are subnormal.
    let isHalfway = wide.bitPattern & 0x1fff_ffff == 0x1000_0000
    if isHalfway || wide.magnitude < Double(Float.leastNormalMagnitude) { return Float(text) ?? .nan }
    return Float(wide)
  }

  /// The value where it is a whole number; `3.0` and `3e2` are (JSON Schema 2020-12 §4.2.3).
  public var integer: Int? { Int(text) ?? Int(exactly: wholeDouble) }

  /// The same, up to 2^64 - 1.
  public var unsigned: UInt64? { UInt64(text) ?? UInt64(exactly: wholeDouble) }

  /// NaN above 2^53, where a double no longer says which whole number was written.
  private var wholeDouble: Double {
    let value = double
    return value.magnitude <= 9_007_199_254_740_992 ? value : .nan
  }

  /// Exact where the digits fit 53 bits and the power of ten is exact too [Clinger90].
  private var exact: Double? {
    var digits: UInt64 = 0
    var exponent = 0
    var written = 0
    var isNegative = false
    var isNegativeExponent = false
    var part = 0
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "-") where part == 2: isNegativeExponent = true
      case UInt8(ascii: "-"): isNegative = true
      case UInt8(ascii: "+"): continue
      case UInt8(ascii: "."): part = 1
      case UInt8(ascii: "e"), UInt8(ascii: "E"): part = 2
      default:
        let digit = byte &- UInt8(ascii: "0")
        if part == 2 {
          written = written * 10 + Int(digit)
          if written > 400 { return nil }
        } else {
          if digits >= 900_719_925_474_099 { return nil }
          digits = digits * 10 + UInt64(digit)
          if part == 1 { exponent -= 1 }
        }
      }
    }
    exponent += isNegativeExponent ? -written : written
    guard exponent >= -22, exponent <= 22 else { return nil }
    let value = Double(digits)
    let scaled = exponent < 0 ? value / Self.powers[-exponent] : value * Self.powers[exponent]
    return isNegative ? -scaled : scaled
  }

  /// 10^0 through 10^22, all exact.
  private static let powers: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
  ]
}
