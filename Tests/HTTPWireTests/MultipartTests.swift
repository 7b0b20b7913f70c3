import Testing

@testable import HTTPWire

@Suite struct MultipartTests {
  struct Part: Equatable {
    var name: String
    var fileName: String?
    var type: String?
    var content: [UInt8] = []
  }

  struct Outcome: Equatable {
    var parts: [Part] = []
    var ends = 0
    var error: WireError?
  }

  private static func read(
    _ pieces: [[UInt8]], boundary: String = "b", limits: MultipartParser.Limits = .init()
  ) -> Outcome {
    var parser = MultipartParser(boundary: boundary, limits: limits)
    var outcome = Outcome()
    do throws(WireError) {
      for piece in pieces {
        parser.append(piece)
        loop: while true {
          switch try parser.next() {
          case .needMore, .end: break loop
          case .part(let part):
            outcome.parts.append(
              Part(name: part.name, fileName: part.fileName, type: part.fields.single("content-type")))
          case .content(let bytes): outcome.parts[outcome.parts.count - 1].content += bytes
          case .endOfPart: outcome.ends += 1
          }
        }
      }
      try parser.finish()
    } catch {
      outcome.error = error
    }
    return outcome
  }

  /// The same at every cut, at every two cuts for short bodies, and byte by byte.
  private static func everywhere(
    _ text: String, boundary: String = "b", limits: MultipartParser.Limits = .init(),
    _ place: SourceLocation = #_sourceLocation
  ) -> Outcome {
    let bytes = Array(text.utf8)
    let whole = read([bytes], boundary: boundary, limits: limits)
    for cut in 0...bytes.count {
      let pieces = [Array(bytes[..<cut]), Array(bytes[cut...])]
      #expect(read(pieces, boundary: boundary, limits: limits) == whole, "cut \(cut)", sourceLocation: place)
    }
    #expect(
      read(bytes.map { [$0] }, boundary: boundary, limits: limits) == whole, sourceLocation: place)
    if bytes.count <= 120 {
      for first in 0..<bytes.count {
        for second in first..<bytes.count {
          let pieces = [bytes[..<first], bytes[first..<second], bytes[second...]].map(Array.init)
          #expect(
            read(pieces, boundary: boundary, limits: limits) == whole, "cuts \(first), \(second)",
            sourceLocation: place)
        }
      }
    }
    return whole
  }

  private static let disposition = "Content-Disposition: form-data; name=\"a\"\r\n"

  private static func form(_ content: String, count: Int = 1) -> String {
    String(repeating: "--b\r\n\(disposition)\r\n\(content)\r\n", count: count) + "--b--\r\n"
  }

  @Test func aFormOfTwoPartsIsReadAtEveryCut() {
    let outcome = Self.everywhere(
      """
      --b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\n\
      content-disposition: form-data; name="file"; filename="träin.jsonl"\r\nContent-Type: text/x\r\n\r\n\
      {"a":1}\n\r\n--\r\n--c\r\n\r\n--b--\r\nepilogue --b\r\n
      """)
    #expect(outcome.error == nil && outcome.ends == 2)
    #expect(
      outcome.parts == [
        Part(name: "purpose", content: Array("fine-tune".utf8)),
        Part(
          name: "file", fileName: "träin.jsonl", type: "text/x",
          content: Array("{\"a\":1}\n\r\n--\r\n--c\r\n".utf8)),
      ])
  }

  /// What only resembles a delimiter is content; the line break before a delimiter is not.
  @Test(arguments: ["", "\r", "\n", "\r\n", "\r\r\n--", "--b", "\r\n--a", "\r\n-b", "x--b--", "\r\n--\r\n--"])
  func contentIsKeptToTheByte(content: String) {
    let outcome = Self.everywhere(Self.form(content))
    #expect(outcome == Outcome(parts: [Part(name: "a", content: Array(content.utf8))], ends: 1))
  }

  @Test func randomContentIsKept() {
    var state: UInt64 = 7
    for _ in 0..<200 {
      let alphabet = Array("\r\n-bc".utf8)
      let content = (0..<Int(state % 40)).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return alphabet[Int(state >> 33) % alphabet.count]
      }
      state &+= 1
      let text = String(decoding: content, as: UTF8.self)
      if text.contains("\r\n--b") { continue }
      let bytes = Array(Self.form(text).utf8)
      #expect(Self.read([bytes]).parts.first?.content == content)
      #expect(Self.read(bytes.map { [$0] }).parts.first?.content == content)
    }
  }

  @Test func aPreambleAndPaddingAreThrownAway() {
    let outcome = Self.everywhere("hello\r\n--b \t\r\n\(Self.disposition)\r\nx\r\n--b--")
    #expect(outcome.parts == [Part(name: "a", content: [0x78])] && outcome.error == nil)
  }

  @Test func limitsHoldOnePastAndNotAt() {
    var limits = MultipartParser.Limits()
    limits.parts = 2
    #expect(Self.everywhere(Self.form("x", count: 2), limits: limits).error == nil)
    #expect(
      Self.everywhere(Self.form("x", count: 3), limits: limits).error
        == .malformed(.tooManyParts, offset: 2 * 52 + 4))
    limits.headBytes = Self.disposition.utf8.count + 2
    #expect(Self.everywhere(Self.form("x"), limits: limits).error == nil)
    limits.headBytes -= 1
    #expect(
      Self.everywhere(Self.form("x"), limits: limits).error
        == .malformed(.partHeadTooLarge, offset: 5 + limits.headBytes))
    limits = .init()
    limits.fields = 2
    let fields = { (count: Int) in
      "--b\r\n\(Self.disposition)\(String(repeating: "a: b\r\n", count: count))\r\nx\r\n--b--"
    }
    #expect(Self.everywhere(fields(1), limits: limits).error == nil)
    guard case .malformed(.partHeadTooLarge, _)? = Self.everywhere(fields(2), limits: limits).error else {
      Issue.record("a field too many is taken")
      return
    }
    limits = .init()
    limits.preambleBytes = 4
    #expect(Self.everywhere("abcd\r\n" + Self.form("x"), limits: limits).error == nil)
    #expect(
      Self.everywhere("abcde\r\n" + Self.form("x"), limits: limits).error
        == .malformed(.missingDelimiter, offset: 4))
    limits.paddingBytes = 2
    #expect(Self.everywhere("--b  \r\n\(Self.disposition)\r\nx\r\n--b--", limits: limits).error == nil)
    #expect(
      Self.everywhere("--b   \r\n\(Self.disposition)\r\nx\r\n--b--", limits: limits).error
        == .malformed(.partDelimiter, offset: 5))
  }

  @Test(arguments: [
    ("", MalformedReason.truncatedParts, 0), ("--b", .truncatedParts, 3),
    ("--b\r\n\(disposition)\r\nx", .truncatedParts, 50), ("--bc\r\n", .partDelimiter, 3),
    ("--b-x", .partDelimiter, 4), ("--b\rx", .partDelimiter, 4),
    ("--b\r\n\r\nx\r\n--b--", .partDisposition, 5),
    ("--b\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n", .partDisposition, 5),
    ("--b\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\n", .partDisposition, 5),
    ("--b\r\nContent-Disposition: form-data; name=\"a\r\n\r\n", .partDisposition, 5),
    ("--b\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n", .partDisposition, 5),
    ("--b\r\n\(disposition)\(disposition)\r\n", .partDisposition, 5),
    ("--b\r\n a: b\r\n\r\n", .foldedField, 5),
    ("--b\r\na b\r\n\r\n", .fieldName, 6), ("--b\r\na: b\n\r\n", .bareLineFeed, 9),
  ])
  func brokenFormsNameTheirFault(text: String, reason: MalformedReason, offset: Int) {
    #expect(Self.everywhere(text).error == .malformed(reason, offset: offset))
  }

  @Test(arguments: [
    ("form-data; name=\"a\\\"b\"; filename=\"c:\\d\\\\e\"", "a\"b", "c:\\d\\e"),
    ("FORM-DATA;name=a;filename=b;", "a", "b"), ("form-data; name=\"%22%0d%0A%41\"", "\"\r\n%41", nil),
    ("form-data; name=\"\"; filename=\"\"", "", ""),
    ("form-data; name=\"a\"; filename=\"b\"; filename*=UTF-8''c", "a", "b"),
  ])
  func dispositionsAreRead(value: String, name: String, fileName: String?) {
    let outcome = Self.read([Array("--b\r\nContent-Disposition: \(value)\r\n\r\nx\r\n--b--".utf8)])
    #expect(outcome.parts == [Part(name: name, fileName: fileName, content: [0x78])])
  }

  @Test func boundariesAreReadAndChecked() {
    let longest = String(repeating: "x", count: 70)
    for (value, boundary) in [
      ("multipart/form-data; boundary=abc", "abc"),
      ("Multipart/Form-Data;charset=x; BOUNDARY=\"a b\"", "a b"),
      ("multipart/form-data; boundary=\(longest)", longest),
      ("multipart/form-data; boundary=\(longest)x", nil),
      ("multipart/form-data; boundary=\"a \"", nil), ("multipart/form-data; boundary=\"\"", nil),
      ("multipart/form-data; boundary=a; boundary=b", nil), ("multipart/form-data", nil),
      ("multipart/mixed; boundary=a", nil), ("multipart/form-data; boundary=a{b", nil), ("", nil),
    ] as [(String, String?)] {
      #expect(MultipartParser.boundary(of: value) == boundary, "\(value)")
    }
  }
}
