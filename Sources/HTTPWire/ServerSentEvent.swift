/// One event of a `text/event-stream` (WHATWG HTML §9.2).
public struct ServerSentEvent: Sendable, Equatable {
  public var id: String?
  public var event: String?
  /// Lines are separated by LF.
  public var data: [UInt8]

  public init(id: String? = nil, event: String? = nil, data: [UInt8]) {
    self.id = id
    self.event = event
    self.data = data
  }

  /// The event's bytes, empty line included. A line break or NUL in `id` or `event` is written as a space.
  public func encoded() -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(data.count + 64)
    if let id { ServerSentEvent.line("id", Array(id.utf8), &output) }
    if let event { ServerSentEvent.line("event", Array(event.utf8), &output) }
    var rest = data[...]
    while true {
      let end = rest.firstIndex { $0 == lineFeed || $0 == carriageReturn } ?? rest.endIndex
      output.append(contentsOf: "data: ".utf8)
      output.append(contentsOf: rest[..<end])
      output.append(lineFeed)
      guard end < rest.endIndex else { break }
      let pair = rest[end] == carriageReturn && end + 1 < rest.endIndex && rest[end + 1] == lineFeed
      rest = rest[(end + (pair ? 2 : 1))...]
    }
    output.append(lineFeed)
    return output
  }

  /// A comment, which keeps proxies from closing a quiet stream.
  public static func comment(_ text: String) -> [UInt8] {
    var output: [UInt8] = []
    line("", Array(text.utf8), &output)
    output.append(lineFeed)
    return output
  }

  private static func line(_ name: String, _ value: [UInt8], _ output: inout [UInt8]) {
    output.append(contentsOf: name.utf8)
    output.append(contentsOf: ": ".utf8)
    output.append(contentsOf: value.map { $0 == lineFeed || $0 == carriageReturn || $0 == 0 ? space : $0 })
    output.append(lineFeed)
  }
}

/// Events out of a byte stream, however it is cut.
public struct EventStreamParser: Sendable {
  /// The id to resume after, as the last `id` line gave it; events without one keep it.
  public private(set) var lastEventID: String?
  /// The server's wish for the wait before a reconnection, in milliseconds.
  public private(set) var retryMilliseconds: Int?

  private var line: [UInt8] = []
  private var event: String?
  private var data: [UInt8] = []
  private var hasData = false
  private var afterReturn = false
  private var isFirstLine = true
  private let limitBytes: Int

  /// - Parameter limitBytes: most bytes of one event.
  public init(limitBytes: Int = 1 << 20, lastEventID: String? = nil) {
    self.limitBytes = limitBytes
    self.lastEventID = lastEventID
  }

  /// The events that these bytes complete.
  ///
  /// - Throws: `.headTooLarge` for an event above the limit.
  public mutating func receive(_ bytes: some Sequence<UInt8>) throws(WireError) -> [ServerSentEvent] {
    var events: [ServerSentEvent] = []
    for byte in bytes {
      defer { afterReturn = byte == carriageReturn }
      if byte == lineFeed, afterReturn { continue }
      if byte == lineFeed || byte == carriageReturn {
        if let event = endLine() { events.append(event) }
        continue
      }
      line.append(byte)
      if line.count + data.count > limitBytes { throw .headTooLarge(limitBytes: limitBytes) }
    }
    return events
  }

  private mutating func endLine() -> ServerSentEvent? {
    var text = line[...]
    if isFirstLine, text.starts(with: [0xef, 0xbb, 0xbf]) { text = text.dropFirst(3) }
    isFirstLine = false
    defer { line.removeAll(keepingCapacity: true) }
    if text.isEmpty { return dispatch() }
    let colon = text.firstIndex(of: UInt8(ascii: ":")) ?? text.endIndex
    var value = text[colon...].dropFirst()
    if value.first == space { value = value.dropFirst() }
    switch String(decoding: text[..<colon], as: UTF8.self) {
    case "data":
      if hasData { data.append(lineFeed) }
      hasData = true
      data.append(contentsOf: value)
    case "event": event = String(decoding: value, as: UTF8.self)
    case "id": if !value.contains(0) { lastEventID = String(decoding: value, as: UTF8.self) }
    case "retry": if let time = FieldRules.decimal(value) { retryMilliseconds = time }
    default: break
    }
    return nil
  }

  private mutating func dispatch() -> ServerSentEvent? {
    defer {
      event = nil
      data = []
      hasData = false
    }
    guard hasData else { return nil }
    return ServerSentEvent(id: lastEventID, event: event, data: data)
  }
}
