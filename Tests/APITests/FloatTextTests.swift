import Testing

@testable import API

/// Floats as text, against the standard library's, which is the shortest too.
@Suite struct FloatTextTests {
  private func text(_ number: Float) -> String {
    String(unsafeUninitializedCapacity: FloatText.capacity) {
      let text = FloatText(number)
      if let memory = $0.baseAddress { text.write(to: memory) }
      return text.count
    }
  }

  @Test func theEdgesOfEveryPathAreWritten() {
    let edges: [Float] = [
      0, -0.0, 1, -1, 0.1, 0.5, 9.5, 10, 123_456, 16_777_215, 16_777_216, 16_777_218, 33_554_432, 1e-4,
      9.999_999e-5, 1e-5, 1.5e-7, 3.402_823_5e38, -1.175_494_4e-38, .leastNonzeroMagnitude,
      3 * .leastNonzeroMagnitude,
      0.3, 1 / 3, 2 / 3, 0.999_999_94, 1.000_000_1, 100, 1e10, 1.5e10, 8.388_608e6, 0.015_625,
    ]
    for number in edges { #expect(text(number) == number.description) }
  }

  /// Around every power of two, where neighbours change their distance, and through all exponents.
  @Test func everyExponentIsWritten() {
    var wrong: [Float] = []
    for exponent: UInt32 in 0..<255 {
      for fraction: UInt32 in [0, 1, 2, 3, 0x3f_ffff, 0x40_0000, 0x40_0001, 0x7f_fffe, 0x7f_ffff] {
        let number = Float(bitPattern: exponent << 23 | fraction)
        if text(number) != number.description { wrong.append(number) }
      }
    }
    #expect(wrong.isEmpty)
  }

  /// Exponents and signs of scores, which have a way of their own, and those beside them.
  @Test(arguments: [false, true]) func fractionsAreWritten(isNegative: Bool) {
    var wrong: [UInt32] = []
    for exponent: UInt32 in 112...128 {
      for fraction in stride(from: UInt32(exponent), to: 1 << 23, by: 1_009) {
        let number = Float(bitPattern: (isNegative ? 1 << 31 : 0) | exponent << 23 | fraction)
        if text(number) != number.description { wrong.append(number.bitPattern) }
      }
    }
    #expect(wrong.isEmpty, "bit patterns \(wrong.prefix(8))")
  }

  @Test(arguments: [Float.nan, -.nan, .infinity, -.infinity]) func whatIsNotFiniteIsNull(number: Float) {
    #expect(text(number) == "null")
  }

  @Test func anyFloatIsWritten() {
    var generator = SystemRandomNumberGenerator()
    var wrong: [UInt32] = []
    for round in 0..<100_000 {
      // All bit patterns, and those of scores.
      let bits = UInt32.random(in: 0...UInt32.max, using: &generator)
      let number = round % 2 == 0 ? Float(bitPattern: bits) : Float(bits) / 4_294_967_296
      if number.isFinite, text(number) != number.description { wrong.append(number.bitPattern) }
    }
    #expect(wrong.isEmpty, "bit patterns \(wrong.prefix(8))")
  }
}
