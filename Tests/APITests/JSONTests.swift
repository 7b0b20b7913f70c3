import Testing

@testable import API

@Suite struct JSONTests {
  @Test(arguments: [
    ("", JSONFault.end, 0), ("[1,2", .end, 4), ("[1,]", .character, 3), ("{\"a\":1,}", .character, 7),
    ("[1 2]", .character, 3), ("1 2", .trailing, 2), ("[] ]", .trailing, 3), ("nul", .end, 3),
    ("nulL", .character, 3), ("NaN", .character, 0), ("-", .end, 1), ("+1", .character, 0),
    ("01", .number, 0), ("-01", .number, 1), ("1.", .end, 2), ("1.e3", .number, 2), (".5", .character, 0),
    ("1e", .end, 2), ("1e+", .end, 3), ("0x1", .trailing, 1), ("'a'", .character, 0), ("\"a", .end, 2),
    ("\"\u{1}\"", .control, 1), ("\"\\x\"", .escape, 1), ("\"\\u12g4\"", .escape, 5),
    ("\"\\u12", .end, 5), ("\"\\", .end, 2), ("{\"a\":1,\"a\":2}", .duplicate, 7),
    ("{\"a\":1,\"\\u0061\":2}", .duplicate, 7), ("{a:1}", .character, 1), ("{\"a\" 1}", .character, 5),
    ("\u{feff}1", .character, 0), ("// no\n1", .character, 0), ("[1}", .character, 2), ("{", .end, 1),
    ("{\"a\"", .end, 4), ("{\"a\":", .end, 5), ("{\"a\":1", .end, 6), ("]", .character, 0),
  ])
  func malformedTextsAreRefusedAtTheirOffset(text: String, fault: JSONFault, offset: Int) {
    #expect(throws: JSONError.malformed(fault, offset: offset)) { try JSONReader.read(Array(text.utf8)) }
  }

  @Test func bytesThatAreNotUTF8AreRefused() {
    for bytes: [UInt8] in [
      [0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82],
    ] {
      #expect(throws: JSONError.malformed(.encoding, offset: 1)) {
        try JSONReader.read([0x22] + bytes + [0x22])
      }
    }
  }

  @Test func loneSurrogatesAreNamedByTheirPointer() {
    for text in [#"{"a~/b":[0,"\ud800"]}"#, #"{"a~/b":[0,"x\udc00"]}"#, #"{"a~/b":[0,"\ud800\u0041"]}"#] {
      do throws(JSONError) {
        _ = try JSONReader.read(Array(text.utf8))
        Issue.record("\(text) was taken")
      } catch {
        guard case .loneSurrogate("/a~0~1b/1", _) = error else {
          Issue.record("\(error)")
          return
        }
      }
    }
  }

  @Test func escapesAndPairsAreRead() throws {
    let text = #""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000é""#
    #expect(try JSONReader.read(Array(text.utf8)).string == "\"\\/\u{8}\u{c}\n\r\té😀\0é")
  }

  @Test func canonicallyEqualNamesAreTwoNames() throws {
    let value = try JSONReader.read(Array("{\"\u{e9}\":1,\"e\u{301}\":2}".utf8))
    #expect(value["\u{e9}"]?.number?.integer == 1)
    #expect(value["e\u{301}"]?.number?.integer == 2)
  }

  @Test func duplicatesAreFoundInLargeObjectsToo() throws {
    let members = (0..<40).map { "\"k\($0)\":0" }
    #expect(throws: Never.self) { try JSONReader.read(Array("{\(members.joined(separator: ","))}".utf8)) }
    let twice = (members + ["\"k7\":1"]).joined(separator: ",")
    #expect(throws: JSONError.self) { try JSONReader.read(Array("{\(twice)}".utf8)) }
  }

  @Test func depthIsBounded() {
    let limit = JSONReader.depthLimit
    func nested(_ depth: Int) -> [UInt8] {
      Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
    }
    #expect(throws: Never.self) { try JSONReader.read(nested(limit)) }
    #expect(throws: JSONError.malformed(.depth, offset: limit)) { try JSONReader.read(nested(limit + 1)) }
  }

  @Test func wholeNumbersMayBeWrittenInAnyWay() {
    #expect(JSONNumber("3.0")?.integer == 3)
    #expect(JSONNumber("3e2")?.integer == 300)
    #expect(JSONNumber("-0")?.integer == 0)
    #expect(JSONNumber("3.5")?.integer == nil)
    #expect(JSONNumber("1e30")?.integer == nil)
    #expect(JSONNumber("9223372036854775807")?.integer == .max)
    #expect(JSONNumber("9223372036854775808")?.integer == nil)
    #expect(JSONNumber("18446744073709551615")?.unsigned == .max)
    #expect(JSONNumber("-1")?.unsigned == nil)
    #expect(JSONNumber(" 1") == nil)
    #expect(JSONNumber("1e400")?.double == .infinity)
    #expect(JSONNumber("1e39")?.float == .infinity)
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func floatsComeBackBitForBit(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var floats: [Float] = [0, -0.0, .leastNonzeroMagnitude, .greatestFiniteMagnitude, 16_777_216, 0.1]
    while floats.count < 5_000 {
      let float = Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
      if float.isFinite { floats.append(float) }
    }
    var writer = JSONWriter()
    writer.floats(floats)
    let read = try #require(try JSONReader.read(writer.bytes).floats, "seed \(seed)")
    #expect(zip(floats, read).allSatisfy { $0.bitPattern == $1.bitPattern }, "seed \(seed)")
  }

  @Test(arguments: [UInt64(1), 2, 3])
  func numbersAreRoundedOnce(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var texts = ["1.00000005960464477540", "16777217", "16777219", "7.006492321624085e-46", "1e-400", "-0.0"]
    for _ in 0..<5_000 {
      let digits = String(random.next() >> UInt64.random(in: 0..<60, using: &random))
      let fraction = Bool.random(using: &random) ? ".\(random.next() % 1_000_000)" : ""
      texts.append("\(digits)\(fraction)e\(Int.random(in: -60...45, using: &random))")
    }
    for text in texts {
      let number = try #require(JSONNumber(text), "\(text)")
      #expect(number.double.bitPattern == Double(text)?.bitPattern, "\(text), seed \(seed)")
      #expect(number.float.bitPattern == Float(text)?.bitPattern, "\(text), seed \(seed)")
    }
  }

  @Test(arguments: [UInt64(11), 12, 13])
  func valuesComeBack(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<300 {
      let value = Self.value(&random, depth: 0)
      var writer = JSONWriter()
      Self.write(value, &writer)
      #expect(try JSONReader.read(writer.bytes) == value, "seed \(seed)")
    }
  }

  private static func value(_ random: inout SeededGenerator, depth: Int) -> JSONValue {
    switch Int.random(in: 0..<(depth < 5 ? 6 : 4), using: &random) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &random))
    case 2: return .number(JSONNumber(checked: String(Int.random(in: -1_000...1_000, using: &random))))
    case 3: return .string(text(&random))
    case 4:
      return .array((0..<Int.random(in: 0..<4, using: &random)).map { _ in value(&random, depth: depth + 1) })
    default:
      return .object(
        (0..<Int.random(in: 0..<20, using: &random)).map {
          JSONMember("\($0)" + text(&random), value(&random, depth: depth + 2))
        })
    }
  }

  private static func text(_ random: inout SeededGenerator) -> String {
    var text = ""
    for _ in 0..<Int.random(in: 0..<12, using: &random) {
      let bound: UInt32 = Bool.random(using: &random) ? 0x80 : 0x11_0000
      if let scalar = Unicode.Scalar(UInt32.random(in: 0..<bound, using: &random)) {
        text.unicodeScalars.append(scalar)
      }
    }
    return text
  }

  private static func write(_ value: JSONValue, _ writer: inout JSONWriter) {
    switch value {
    case .null: writer.null()
    case .bool(let flag): writer.value(flag)
    case .number(let number): writer.raw(number.text)
    case .string(let text): writer.value(text)
    case .array(let elements): writer.array(elements) { write($1, &$0) }
    case .object(let members):
      writer.object { writer in
        for member in members {
          writer.name(member.name)
          write(member.value, &writer)
        }
      }
    }
  }

  // RFC 4648 §10.
  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"),
  ])
  func base64(text: String, encoded: String) {
    #expect(FloatBytes.base64(Array(text.utf8)) == encoded)
  }

  /// The short way gives what the general one gives, or leaves it the text.
  @Test(arguments: [
    (#"{"inputs":["a","b"]}"#, true), (#" { "inputs" : [ "a" , "é\u00e9\n" ] } "#, true),
    (#"{"parameters":{"top_k":1},"inputs":["a \"quoted\" text"],"encoding":"float"}"#, true),
    (#"{"inputs":["a\ud83d\ude00",""]}"#, true), (#"{"inputs":"a"}"#, false), (#"{"inputs":[]}"#, false),
    (#"{"inputs":["a",1]}"#, false), (#"{"inputs":["a"],"inputs":["b"]}"#, false), ("[]", false),
    (#"{"inputs":["a"],"x":1,"x":2}"#, false), (#"{"inputs":["a"]"#, false), (#"{"inputs":["a"]}}"#, false),
    (#"{"inputs":["a\ud800"]}"#, false), (#"{"inputs":["a" "b"]}"#, false), (#"{"inputs":["a",]}"#, false),
    ("{\"inputs\":[\"a\u{1}\"]}", false), (#"{"more":["a"]}"#, false), (#"{"inputs":[{"text":"a"}]}"#, false),
    ("", false), (#"{"#, false), (#"{"inputs""#, false), (#"{"inputs":["#, false), (#"{"inputs":["a"#, false),
  ])
  func plainTextsAreReadWithoutValues(_ text: String, isPlain: Bool) throws {
    let found = JSONReader.read(Array(text.utf8), textsOf: "inputs")
    #expect((found != nil) == isPlain)
    guard let found else { return }
    let value = try JSONReader.read(Array(text.utf8))
    let texts = found.texts.map { JSONValue.string(String(decoding: found.bytes[$0], as: UTF8.self)) }
    #expect(value["inputs"] == .array(texts))
    for member in found.rest { #expect(value[member.name] == member.value) }
    guard case .object(let members) = value else { return }
    #expect(members.count == found.rest.count + 1)
  }

  @Test(arguments: [(12, true), (13, false)])
  func manyOtherMembersAreLeftToTheGeneralReader(count: Int, isPlain: Bool) {
    let others = (0..<count).map { "\"k\($0)\":0" }.joined(separator: ",")
    for text in ["{\"inputs\":[\"a\"],\(others)}", "{\(others),\"inputs\":[\"a\"]}"] {
      #expect((JSONReader.read(Array(text.utf8), textsOf: "inputs") != nil) == isPlain)
    }
  }

  @Test func bytesThatAreNotTextAreLeftToTheGeneralReader() {
    #expect(
      JSONReader.read(Array(#"{"inputs":["a"#.utf8) + [0xff] + Array(#""]}"#.utf8), textsOf: "inputs") == nil)
  }

  /// Every byte at every place of a text of 32 and of 8 bytes.
  @Test func specialsAreFoundWhereverTheyStand() {
    var missed: [(UInt8, Int)] = []
    for byte in UInt8.min...UInt8.max {
      for place in 0..<32 {
        var text = [UInt8](repeating: UInt8(ascii: "a"), count: 32)
        text[place] = byte
        let found = text.withUnsafeBytes {
          JSONSpecials.occur(in: $0.loadUnaligned(as: SIMD4<UInt64>.self))
        }
        let marks = text.withUnsafeBytes {
          JSONSpecials.marks($0.loadUnaligned(fromByteOffset: place & ~7, as: UInt64.self))
        }
        let isSpecial = JSONSpecials.contains(byte)
        let isMarked = marks != 0 && marks.trailingZeroBitCount / 8 == place & 7
        if found != isSpecial || isMarked != isSpecial { missed.append((byte, place)) }
      }
    }
    #expect(missed.isEmpty)
  }
}
