/// The texts of a request, end to end in one buffer: a row is a range of it, so that on the way from the body to the
/// tokeniser no row has memory of its own.
public struct InferenceInputs: Sendable {
  /// UTF-8; what is between the texts is not looked at.
  private var bytes: [UInt8]
  private var texts: [Range<Int>]
  /// Second segments by row.
  private var pairs: [Int: Range<Int>] = [:]
  private let path: Path

  /// Where the rows stand in a request's JSON (RFC 6901).
  public enum Path: Sendable {
    /// The one row is the member itself.
    case member(String)
    /// An element each of a list, or a member of the element.
    case list(String, member: String? = nil)
  }

  /// No rows; `append` adds them.
  public init(_ path: Path = .list("/inputs")) {
    self.init(bytes: [], texts: [], path)
  }

  /// Rows that stand in a buffer already.
  ///
  /// - Parameters:
  ///   - bytes: UTF-8 in each range.
  ///   - texts: a row's range each.
  public init(bytes: [UInt8], texts: [Range<Int>], _ path: Path = .list("/inputs")) {
    self.bytes = bytes
    self.texts = texts
    self.path = path
  }

  public init(_ texts: [String]) {
    self.init()
    for text in texts { append(text) }
  }

  public mutating func append(_ text: String, pair: String? = nil) {
    if let pair { pairs[texts.count] = put(pair) }
    texts.append(put(text))
  }

  private mutating func put(_ text: String) -> Range<Int> {
    let start = bytes.count
    bytes.append(contentsOf: text.utf8)
    return start..<bytes.count
  }

  /// Rows.
  public var count: Int { texts.count }

  /// Bytes of all texts together.
  public var textBytes: Int {
    texts.reduce(0) { $0 + $1.count } + pairs.values.reduce(0) { $0 + $1.count }
  }

  public func text(_ row: Int) -> String { String(decoding: bytes[texts[row]], as: UTF8.self) }

  /// The second segment, where the task was trained on pairs.
  public func pair(_ row: Int) -> String? { pairs[row].map { String(decoding: bytes[$0], as: UTF8.self) } }

  /// Where a row's text stands in the request, for errors.
  public func pointer(_ row: Int) -> String {
    switch path {
    case .member(let name): name
    case .list(let name, let member): "\(name)/\(row)" + (member.map { "/" + $0 } ?? "")
    }
  }
}
