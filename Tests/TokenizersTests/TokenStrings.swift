/// The strings of `Tests/Goldens/record_tokens.py`, made again: every table and every draw is the script's.
struct TokenStrings {
  static let seed: UInt64 = 20260
  static let singles = 2400
  static let pairs = 400

  /// The tokens by id.
  let vocabulary: [String]

  func inputs() -> [(first: String, second: String?)] {
    var result: [(first: String, second: String?)] = Self.scalarStrings().map { ($0, nil) }
    var random = SplitMix64(state: Self.seed)
    for i in 0..<Self.singles { result.append((string(&random, kind: i % 10), nil)) }
    for i in 0..<Self.pairs {
      let first = string(&random, kind: i % 10)
      let kind = random.below(10)
      result.append((first, string(&random, kind: kind)))
    }
    return result
  }

  /// Every scalar of the planes in use, between two letters, 128 a string; the private planes by samples.
  static func scalarStrings() -> [String] {
    var scalars = (0..<0x323B0).filter { !(0xD800..<0xE000).contains($0) }
    scalars += 0xE0000..<0xE1000
    scalars += stride(from: 0xF0000, to: 0x110000, by: 997)
    return stride(from: 0, to: scalars.count, by: 128).map { start in
      var view = String.UnicodeScalarView()
      for scalar in scalars[start..<min(start + 128, scalars.count)] {
        view.append("a")
        view.append(scalarOf(scalar))
        view.append("b")
        view.append(" ")
      }
      return String(view)
    }
  }

  private static func scalarOf(_ value: Int) -> Unicode.Scalar {
    Unicode.Scalar(UInt32(value)) ?? "\u{FFFD}"
  }

  private func string(_ random: inout SplitMix64, kind: Int) -> String {
    var out = String.UnicodeScalarView()
    func letter() -> Unicode.Scalar { Self.scalarOf(97 + random.below(26)) }
    switch kind {
    case 0:
      for _ in 0..<(1 + random.below(1 + random.below(300))) {
        var token = Array(vocabulary[random.below(vocabulary.count)].unicodeScalars)
        if token.starts(with: "##".unicodeScalars) { token.removeFirst(2) }
        if random.below(4) == 0, token[0] >= "a", token[0] <= "z" {
          token[0] = Self.scalarOf(Int(token[0].value) - 32)
        }
        out.append(contentsOf: token)
        out.append(contentsOf: Self.separators[random.below(Self.separators.count)].unicodeScalars)
      }
    case 1:
      let (low, high) = Self.ranges[random.below(Self.ranges.count)]
      for _ in 0..<(1 + random.below(80)) {
        out.append(random.below(6) == 0 ? " " : Self.scalarOf(low + random.below(high - low)))
      }
    case 2:
      for _ in 0..<(1 + random.below(30)) {
        out.append(contentsOf: Self.emoji[random.below(Self.emoji.count)].unicodeScalars)
      }
    case 3:
      for _ in 0..<(1 + random.below(60)) {
        out.append(
          random.below(2) == 0 ? letter() : Self.scalarOf(Self.controls[random.below(Self.controls.count)]))
      }
    case 4:
      for _ in 0..<(1 + random.below(3)) {
        let letters = Array(Self.letters[random.below(Self.letters.count)].unicodeScalars)
        for _ in 0..<(90 + random.below(25)) { out.append(letters[random.below(letters.count)]) }
        out.append(" ")
      }
    case 5:
      for _ in 0..<(1 + random.below(30)) {
        out.append(Self.scalarOf(Self.bases[random.below(Self.bases.count)]))
        for _ in 0..<random.below(5) {
          out.append(Self.scalarOf(Self.marks[random.below(Self.marks.count)]))
        }
      }
    case 6:
      for _ in 0..<(1 + random.below(30)) {
        out.append(contentsOf: Self.added[random.below(Self.added.count)].unicodeScalars)
      }
    case 7:
      for _ in 0..<(1 + random.below(60)) {
        let scalar = random.below(0x323B0 - 0x800)
        out.append(Self.scalarOf(scalar < 0xD800 ? scalar : scalar + 0x800))
      }
    case 8:
      for _ in 0..<3 {
        let kind = random.below(8)
        out.append(contentsOf: string(&random, kind: kind).unicodeScalars)
      }
    default:
      for _ in 0..<random.below(200) {
        out.append(
          random.below(3) == 0 ? letter() : Self.punctuation[random.below(Self.punctuation.count)])
      }
    }
    return String(out)
  }
}

/// [Steele14] figure 17.
struct SplitMix64 {
  var state: UInt64

  mutating func below(_ n: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return Int((z ^ z >> 31) % UInt64(n))
  }
}
