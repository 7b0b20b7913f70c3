/// Field lines in order, duplicates kept, names compared without case. One owned buffer and a table into it.
public struct HTTPFields: Sendable {
  struct Entry: Sendable {
    var nameStart: UInt32 = 0
    var nameEnd: UInt32 = 0
    var valueStart: UInt32 = 0
    var valueEnd: UInt32 = 0
  }

  /// For a parsed head the whole head, so the target lies here too.
  private(set) var bytes: [UInt8]
  private var entries: [Entry]

  init(bytes: [UInt8], entries: [Entry]) {
    self.bytes = bytes
    self.entries = entries
  }

  public init(_ list: [(String, String)] = []) {
    self.init(bytes: [], entries: [])
    for (name, value) in list { append(name, value) }
  }

  /// Adds a line after the others.
  public mutating func append(_ name: String, _ value: String) {
    var entry = Entry()
    entry.nameStart = UInt32(bytes.count)
    bytes.append(contentsOf: name.utf8)
    entry.nameEnd = UInt32(bytes.count)
    entry.valueStart = entry.nameEnd
    bytes.append(contentsOf: value.utf8)
    entry.valueEnd = UInt32(bytes.count)
    entries.append(entry)
  }

  public var count: Int { entries.count }

  /// The lines in order; bytes that are not UTF-8 are repaired.
  public var list: [(name: String, value: String)] {
    entries.map { (text($0.nameStart, $0.nameEnd), text($0.valueStart, $0.valueEnd)) }
  }

  public func contains(_ name: String) -> Bool { entries.contains { matches($0, name) } }

  /// Every value of the name, in order.
  public func values(for name: String) -> [String] {
    entries.lazy.filter { matches($0, name) }.map { text($0.valueStart, $0.valueEnd) }
  }

  /// The value, nil when the name is absent or repeated.
  public func single(_ name: String) -> String? {
    entry(name).map { text($0.valueStart, $0.valueEnd) }
  }

  /// Whether the name is there once, with exactly this value.
  public func isSingle(_ name: String, _ value: String) -> Bool {
    entry(name).map { isText($0.valueStart..<$0.valueEnd, value) { $0 } } ?? false
  }

  /// nil when the name is absent or repeated.
  private func entry(_ name: String) -> Entry? {
    var found: Entry?
    for entry in entries where matches(entry, name) {
      if found != nil { return nil }
      found = entry
    }
    return found
  }

  /// Whether a comma-separated list field holds the token, compared without case.
  public func hasToken(_ token: String, in name: String) -> Bool {
    for entry in entries where matches(entry, name) {
      for part in bytes[Int(entry.valueStart)..<Int(entry.valueEnd)].split(separator: UInt8(ascii: ",")) {
        var part = part
        while let byte = part.first, ByteClass.isBlank(byte) { part.removeFirst() }
        while let byte = part.last, ByteClass.isBlank(byte) { part.removeLast() }
        if HTTPFields.equal(part, token) { return true }
      }
    }
    return false
  }

  var table: [Entry] { entries }

  func value(_ entry: Entry) -> ArraySlice<UInt8> { bytes[Int(entry.valueStart)..<Int(entry.valueEnd)] }

  func matches(_ entry: Entry, _ name: String) -> Bool {
    isText(entry.nameStart..<entry.nameEnd, name, ByteClass.lowercased)
  }

  /// Whether the bytes there are a text's, compared as `folded`.
  @inline(__always)
  private func isText(_ range: Range<UInt32>, _ text: String, _ folded: (UInt8) -> UInt8) -> Bool {
    guard range.count == text.utf8.count else { return false }
    var text = text
    return text.withUTF8 { text in
      bytes.withUnsafeBufferPointer { bytes in
        let start = Int(range.lowerBound)
        return text.indices.allSatisfy { folded(bytes[start + $0]) == folded(text[$0]) }
      }
    }
  }

  static func equal(_ left: ArraySlice<UInt8>, _ right: String) -> Bool {
    guard left.count == right.utf8.count else { return false }
    return zip(left, right.utf8).allSatisfy { ByteClass.lowercased($0) == ByteClass.lowercased($1) }
  }

  private func text(_ start: UInt32, _ end: UInt32) -> String {
    String(decoding: bytes[Int(start)..<Int(end)], as: UTF8.self)
  }
}
