/// Python's text methods, by scalars and bytes: `String`'s own go by canonical equivalence.
enum TemplateText {
  /// The first place of a part at or after a byte.
  static func find(_ part: String, in text: String, from start: Int = 0) -> Int? {
    let (part, text) = (Array(part.utf8), Array(text.utf8))
    return find(part, in: text, from: start)
  }

  static func find(_ part: [UInt8], in text: [UInt8], from start: Int) -> Int? {
    guard let first = part.first else { return start <= text.count ? start : nil }
    var i = start
    while i + part.count <= text.count {
      if text[i] == first, text[i..<i + part.count].elementsEqual(part) { return i }
      i += 1
    }
    return nil
  }

  static func isSpace(_ scalar: Unicode.Scalar) -> Bool { Template.isSpace(scalar.value) }

  /// Takes white space, or the scalars of a text, off the ends.
  static func strip(_ text: String, _ characters: String?, left: Bool = true, right: Bool = true) -> String {
    let set = characters.map { Set($0.unicodeScalars) }
    func goes(_ scalar: Unicode.Scalar) -> Bool { set.map { $0.contains(scalar) } ?? isSpace(scalar) }
    var rest = text.unicodeScalars[...]
    while left, let first = rest.first, goes(first) { rest.removeFirst() }
    while right, let last = rest.last, goes(last) { rest.removeLast() }
    return String(rest)
  }

  static func split(_ text: String, _ separator: String?, limit: Int) -> [String] {
    guard let separator else {
      var parts: [String] = []
      var rest = text.unicodeScalars[...]
      while true {
        while let first = rest.first, isSpace(first) { rest.removeFirst() }
        guard !rest.isEmpty else { return parts }
        if limit >= 0, parts.count == limit { return parts + [String(rest)] }
        let word = rest.prefix { !isSpace($0) }
        parts.append(String(word))
        rest = rest[word.endIndex...]
      }
    }
    let (bytes, mark) = (Array(text.utf8), Array(separator.utf8))
    var parts: [String] = []
    var start = 0
    while limit < 0 || parts.count < limit, let place = find(mark, in: bytes, from: start) {
      parts.append(String(decoding: bytes[start..<place], as: UTF8.self))
      start = place + mark.count
    }
    return parts + [String(decoding: bytes[start...], as: UTF8.self)]
  }

  static func rightSplit(_ text: String, _ separator: String, limit: Int) -> [String] {
    var parts = split(text, separator, limit: -1)
    guard limit >= 0, parts.count > limit + 1 else { return parts }
    let head = parts.prefix(parts.count - limit).joined(separator: separator)
    parts.removeFirst(parts.count - limit)
    return [head] + parts
  }

  /// Puts a text in the place of each part; of an empty part there is one before each scalar and one at the end.
  static func replace(_ text: String, _ part: String, _ content: String, limit: Int) -> String {
    if part.isEmpty {
      var result = ""
      var count = 0
      for scalar in text.unicodeScalars {
        if limit < 0 || count < limit { result += content }
        count += 1
        result.unicodeScalars.append(scalar)
      }
      return limit < 0 || count < limit ? result + content : result
    }
    return split(text, part, limit: limit).joined(separator: content)
  }

  static func lines(_ text: String, keepsEnds: Bool) -> [String] {
    var lines: [String] = []
    var line = String.UnicodeScalarView()
    var scalars = text.unicodeScalars[...]
    while let scalar = scalars.popFirst() {
      switch scalar.value {
      case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029:
        if keepsEnds { line.append(scalar) }
        if scalar == "\r", scalars.first == "\n", let feed = scalars.popFirst(), keepsEnds {
          line.append(feed)
        }
        lines.append(String(line))
        line = String.UnicodeScalarView()
      default: line.append(scalar)
      }
    }
    return line.isEmpty ? lines : lines + [String(line)]
  }

  static func capitalized(_ text: String) -> String {
    guard let first = text.unicodeScalars.first else { return text }
    return first.properties.titlecaseMapping + String(text.unicodeScalars.dropFirst()).lowercased()
  }

  /// Each letter after what is none in title case, all others in lower case; `splits` tells what is none.
  static func title(_ text: String, splits: (Unicode.Scalar) -> Bool) -> String {
    var result = ""
    var isFirst = true
    for scalar in text.unicodeScalars {
      result += isFirst ? scalar.properties.titlecaseMapping : scalar.properties.lowercaseMapping
      isFirst = splits(scalar)
    }
    return result
  }

  /// A text as Python shows it in a list.
  static func representation(_ text: String) -> String {
    let quote: Unicode.Scalar =
      text.utf8.contains(UInt8(ascii: "'")) && !text.utf8.contains(UInt8(ascii: "\"")) ? "\"" : "'"
    var result = String.UnicodeScalarView([quote])
    func add(_ text: String) { result.append(contentsOf: text.unicodeScalars) }
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x0A: add("\\n")
      case 0x0D: add("\\r")
      case 0x09: add("\\t")
      case 0x5C: add("\\\\")
      case quote.value: add("\\" + String(quote))
      case 0x20..<0x7F: result.append(scalar)
      default:
        if isPrintable(scalar) { result.append(scalar) } else { add(escape(scalar.value)) }
      }
    }
    result.append(quote)
    return String(result)
  }

  private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
      .spaceSeparator:
      false
    default: true
    }
  }

  private static func escape(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    let (mark, width) = value < 0x100 ? ("x", 2) : value < 0x10000 ? ("u", 4) : ("U", 8)
    return "\\\(mark)\(String(repeating: "0", count: width - digits.count))\(digits)"
  }

  static func number(_ number: Double) -> String {
    number.isNaN ? "nan" : number.isInfinite ? (number < 0 ? "-inf" : "inf") : number.description
  }
}
