extension Template {
  enum Token: Equatable {
    case text(String)
    case blockBegin, blockEnd, variableBegin, variableEnd
    case name(String)
    case string(String)
    case integer(Int)
    case number(Double)
    case symbol(String)
    case end
  }

  /// Cuts a source into tokens, with `trim_blocks` and `lstrip_blocks` on as chat templates have them.
  struct Lexer {
    private let source: [UInt8]
    private var position = 0
    private var line = 1
    private var tokens: [(token: Token, line: Int)] = []
    /// The last thing ended a line.
    private var startsLine = true

    static func tokens(_ source: String) throws(ChatTemplateError) -> [(token: Token, line: Int)] {
      var lexer = Lexer(source)
      try lexer.run()
      return lexer.tokens
    }

    private init(_ source: String) {
      // Line ends are line feeds, and the one at the end goes.
      var bytes: [UInt8] = []
      var previous: UInt8 = 0
      for byte in source.utf8 {
        if byte == 0x0A, previous == 0x0D {
          // The carriage return has become one already.
        } else {
          bytes.append(byte == 0x0D ? 0x0A : byte)
        }
        previous = byte
      }
      if bytes.last == 0x0A { bytes.removeLast() }
      self.source = bytes
    }

    private func starts(with text: StaticString, at i: Int) -> Bool {
      guard i + text.utf8CodeUnitCount <= source.count else { return false }
      for j in 0..<text.utf8CodeUnitCount where source[i + j] != text.utf8Start[j] { return false }
      return true
    }

    private mutating func add(_ token: Token) { tokens.append((token, line)) }

    private mutating func run() throws(ChatTemplateError) {
      while position < source.count {
        let start = position
        var open = position
        while open + 1 < source.count, !isOpening(open) { open += 1 }
        if open + 1 >= source.count {
          addText(start..<source.count)
          position = source.count
          break
        }
        try tag(text: start..<open)
      }
      add(.end)
    }

    private func isOpening(_ i: Int) -> Bool {
      source[i] == UInt8(ascii: "{")
        && (source[i + 1] == UInt8(ascii: "{") || source[i + 1] == UInt8(ascii: "%")
          || source[i + 1] == UInt8(ascii: "#"))
    }

    private mutating func addText(_ range: Range<Int>) {
      guard !range.isEmpty else { return }
      add(.text(String(decoding: source[range], as: UTF8.self)))
      line += source[range].count { $0 == 0x0A }
    }

    /// A tag and the text before it.
    private mutating func tag(text: Range<Int>) throws(ChatTemplateError) {
      let open = text.upperBound
      let kind = source[open + 1]
      let sign = open + 2 < source.count ? source[open + 2] : 0
      position = open + 2
      if sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+"),
        kind != UInt8(ascii: "{") || sign == UInt8(ascii: "-")
      {
        position += 1
      }
      let whole = text
      var text = text
      if sign == UInt8(ascii: "-") {
        text = trimmedEnd(text, all: true)
      } else if sign != UInt8(ascii: "+"), kind != UInt8(ascii: "{") {
        text = trimmedEnd(text, all: false)
      }
      if !text.isEmpty { add(.text(String(decoding: source[text], as: UTF8.self))) }
      line += source[whole].count { $0 == 0x0A }
      switch kind {
      case UInt8(ascii: "#"): try comment()
      case UInt8(ascii: "{"):
        add(.variableBegin)
        try inside(isBlock: false)
      default:
        if try raw() { return }
        add(.blockBegin)
        try inside(isBlock: true)
      }
    }

    /// Without white space at the end: all of it, or spaces of the last line where it holds nothing else.
    private func trimmedEnd(_ range: Range<Int>, all: Bool) -> Range<Int> {
      source.withUnsafeBufferPointer { source in
        var end = range.upperBound
        while end > range.lowerBound {
          let (scalar, length) = UTF8Scalars.decode(source, before: end)
          guard Template.isSpace(scalar), all || scalar != 0x0A else { break }
          end -= length
        }
        if all { return range.lowerBound..<end }
        let isLineStart = end == range.lowerBound ? startsLine : source[end - 1] == 0x0A
        return isLineStart ? range.lowerBound..<end : range
      }
    }

    private mutating func comment() throws(ChatTemplateError) {
      while position + 1 < source.count, !starts(with: "#}", at: position) {
        if source[position] == 0x0A { line += 1 }
        position += 1
      }
      guard position + 1 < source.count else { throw .syntax(line: line, reason: "a comment does not end") }
      let sign = source[position - 1]
      position += 2
      after(sign: sign, trims: true)
    }

    /// What a tag's end takes with it.
    private mutating func after(sign: UInt8, trims: Bool) {
      startsLine = false
      if sign == UInt8(ascii: "-") {
        source.withUnsafeBufferPointer { source in
          while position < source.count {
            let (scalar, length) = UTF8Scalars.decode(source, at: position)
            guard Template.isSpace(scalar) else { break }
            if scalar == 0x0A { line += 1 }
            startsLine = scalar == 0x0A
            position += length
          }
        }
      } else if trims, sign != UInt8(ascii: "+"), position < source.count, source[position] == 0x0A {
        position += 1
        line += 1
        startsLine = true
      }
    }

    /// `{% raw %}` and all up to `{% endraw %}`, as text; false where another tag stands here.
    private mutating func raw() throws(ChatTemplateError) -> Bool {
      guard let (begin, beginSign) = word("raw", at: position) else { return false }
      position = begin
      // Alone of all tags its begin leaves the line end after it.
      after(sign: beginSign, trims: false)
      let start = position
      var i = start
      while i + 1 < source.count {
        if starts(with: "{%", at: i) {
          var inner = i + 2
          let sign = inner < source.count ? source[inner] : 0
          if sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { inner += 1 }
          if let (end, endSign) = word("endraw", at: inner) {
            var text = start..<i
            if sign == UInt8(ascii: "-") {
              text = trimmedEnd(text, all: true)
            } else if sign != UInt8(ascii: "+") {
              text = trimmedEnd(text, all: false)
            }
            if !text.isEmpty { add(.text(String(decoding: source[text], as: UTF8.self))) }
            line += source[start..<i].count { $0 == 0x0A }
            position = end
            after(sign: endSign, trims: true)
            return true
          }
        }
        i += 1
      }
      throw .syntax(line: line, reason: "raw does not end")
    }

    /// The place after a tag of one word, and the sign before its end.
    private func word(_ word: StaticString, at start: Int) -> (Int, UInt8)? {
      var i = start
      while i < source.count, source[i] <= 0x20 { i += 1 }
      guard starts(with: word, at: i) else { return nil }
      i += word.utf8CodeUnitCount
      while i < source.count, source[i] <= 0x20 { i += 1 }
      var sign: UInt8 = 0
      if i < source.count, source[i] == UInt8(ascii: "-") || source[i] == UInt8(ascii: "+") {
        sign = source[i]
        i += 1
      }
      return starts(with: "%}", at: i) ? (i + 2, sign) : nil
    }

    // MARK: In a tag

    private mutating func inside(isBlock: Bool) throws(ChatTemplateError) {
      var depth = 0
      while position < source.count {
        let byte = source[position]
        if depth == 0, let sign = closing(isBlock: isBlock) {
          position += sign == 0 ? 2 : 3
          add(isBlock ? .blockEnd : .variableEnd)
          after(sign: sign, trims: isBlock)
          return
        }
        switch byte {
        case 0x0A:
          line += 1
          position += 1
        case 0x09, 0x0B, 0x0C, 0x20: position += 1
        case UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
        case UInt8(ascii: "'"), UInt8(ascii: "\""): try string(byte)
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
          0x80...:
          let start = position
          while position < source.count, Self.isWord(source[position]) { position += 1 }
          add(.name(String(decoding: source[start..<position], as: UTF8.self)))
        default:
          let symbol = try symbol()
          if "([{".contains(symbol) { depth += 1 }
          if ")]}".contains(symbol) { depth -= 1 }
          guard depth >= 0 else { throw .syntax(line: line, reason: "\(symbol) closes nothing") }
          add(.symbol(symbol))
        }
      }
      throw .syntax(line: line, reason: "a tag does not end")
    }

    private static func isWord(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
        0x80...,
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: false
      }
    }

    /// The sign of the tag's end that stands here, 0 without one; nil where none stands.
    private func closing(isBlock: Bool) -> UInt8? {
      if starts(with: isBlock ? "%}" : "}}", at: position) { return 0 }
      if starts(with: isBlock ? "-%}" : "-}}", at: position) { return UInt8(ascii: "-") }
      return isBlock && starts(with: "+%}", at: position) ? UInt8(ascii: "+") : nil
    }

    private mutating func symbol() throws(ChatTemplateError) -> String {
      for symbol in ["//", "**", "==", "!=", ">=", "<="] as [StaticString]
      where starts(with: symbol, at: position) {
        position += 2
        return "\(symbol)"
      }
      let byte = source[position]
      guard "+-*/%~<>=.:|,;()[]{}".utf8.contains(byte) else {
        throw .syntax(line: line, reason: "\(Character(Unicode.Scalar(byte))) is not expected")
      }
      position += 1
      return String(Character(Unicode.Scalar(byte)))
    }

    private mutating func number() throws(ChatTemplateError) {
      let start = position
      func digits() {
        while position < source.count, isDigit(position) || source[position] == UInt8(ascii: "_") {
          position += 1
        }
      }
      digits()
      var isWhole = true
      if position + 1 < source.count, source[position] == UInt8(ascii: "."), isDigit(position + 1) {
        isWhole = false
        position += 1
        digits()
      }
      if position + 1 < source.count, source[position] | 0x20 == UInt8(ascii: "e") {
        var i = position + 1
        if source[i] == UInt8(ascii: "+") || source[i] == UInt8(ascii: "-") { i += 1 }
        if i < source.count, isDigit(i) {
          isWhole = false
          position = i
          digits()
        }
      }
      let text = String(decoding: source[start..<position].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
      if isWhole, let integer = Int(text) {
        add(.integer(integer))
      } else if !isWhole, let number = Double(text) {
        add(.number(number))
      } else {
        throw .syntax(line: line, reason: "\(text) is no number that is supported")
      }
    }

    private func isDigit(_ i: Int) -> Bool { source[i] >= 0x30 && source[i] <= 0x39 }

    private mutating func string(_ quote: UInt8) throws(ChatTemplateError) {
      let first = line
      var bytes: [UInt8] = []
      position += 1
      while position < source.count, source[position] != quote {
        let byte = source[position]
        position += 1
        if byte == 0x0A { line += 1 }
        guard byte == UInt8(ascii: "\\"), position < source.count else {
          bytes.append(byte)
          continue
        }
        let escaped = source[position]
        position += 1
        switch escaped {
        case UInt8(ascii: "n"): bytes.append(0x0A)
        case UInt8(ascii: "t"): bytes.append(0x09)
        case UInt8(ascii: "r"): bytes.append(0x0D)
        case UInt8(ascii: "b"): bytes.append(0x08)
        case UInt8(ascii: "f"): bytes.append(0x0C)
        case UInt8(ascii: "v"): bytes.append(0x0B)
        case UInt8(ascii: "a"): bytes.append(0x07)
        case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): bytes.append(escaped)
        case 0x0A: line += 1
        case UInt8(ascii: "x"): try scalar(digits: 2, &bytes)
        case UInt8(ascii: "u"): try scalar(digits: 4, &bytes)
        case UInt8(ascii: "U"): try scalar(digits: 8, &bytes)
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
          var value = UInt32(escaped - 0x30)
          var count = 1
          while count < 3, position < source.count, source[position] >= 0x30, source[position] < 0x38 {
            value = value * 8 + UInt32(source[position] - 0x30)
            position += 1
            count += 1
          }
          UTF8Scalars.append(value, to: &bytes)
        default: bytes += [UInt8(ascii: "\\"), escaped]
        }
      }
      guard position < source.count else { throw .syntax(line: first, reason: "a string does not end") }
      position += 1
      tokens.append((.string(String(decoding: bytes, as: UTF8.self)), first))
    }

    private mutating func scalar(digits: Int, _ bytes: inout [UInt8]) throws(ChatTemplateError) {
      guard position + digits <= source.count,
        let value = UInt32(String(decoding: source[position..<position + digits], as: UTF8.self), radix: 16),
        Unicode.Scalar(value) != nil
      else { throw .syntax(line: line, reason: "an escape is no character") }
      position += digits
      UTF8Scalars.append(value, to: &bytes)
    }
  }

  /// White space as Python's `str` and `re` have it.
  static func isSpace(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F,
      0x3000:
      true
    default: false
    }
  }
}
