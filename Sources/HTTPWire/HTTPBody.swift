internal import Synchronization

/// Where body bytes come from: a connection, or memory in tests.
public protocol HTTPBodySource: Sendable {
  /// The next bytes, nil at the end and ever after. One call at a time.
  func next() async throws(WireError) -> [UInt8]?
}

/// A request body that is pulled: nothing is read from the socket before it is asked for.
public struct HTTPBody: Sendable {
  private let source: any HTTPBodySource
  private let memory: MemoryBody?
  /// Content-Length; nil for a chunked body, 0 without one.
  public let declaredLength: Int?

  public init(source: any HTTPBodySource, declaredLength: Int?) {
    self.source = source
    self.declaredLength = declaredLength
    memory = nil
  }

  /// A body in memory.
  public init(_ bytes: [UInt8]) {
    let memory = MemoryBody(bytes)
    source = memory
    self.memory = memory
    declaredLength = bytes.count
  }

  /// The next piece (at most about 64 KB), nil at the end.
  public func next() async throws(WireError) -> [UInt8]? {
    try await source.next()
  }

  /// The whole body where it is in memory, so that nobody waits; nil where it is to be read.
  ///
  /// - Throws: `.bodyTooLarge` as `collect` does.
  public func taken(limitBytes: Int) throws(WireError) -> [UInt8]? {
    guard let memory else { return nil }
    if let declaredLength, declaredLength > limitBytes { throw .bodyTooLarge(limitBytes: limitBytes) }
    return memory.take() ?? []
  }

  /// The whole body.
  ///
  /// - Throws: `.bodyTooLarge` before anything is read when the declared length is above the limit, else as soon as
  ///   the limit is passed; the connection then closes after the answer.
  public func collect(limitBytes: Int) async throws(WireError) -> [UInt8] {
    if let bytes = try taken(limitBytes: limitBytes) { return bytes }
    if let declaredLength, declaredLength > limitBytes { throw .bodyTooLarge(limitBytes: limitBytes) }
    guard var bytes = try await source.next() else { return [] }
    if bytes.count > limitBytes { throw .bodyTooLarge(limitBytes: limitBytes) }
    if let declaredLength {
      if bytes.count == declaredLength { return bytes }
      bytes.reserveCapacity(declaredLength)
    }
    while let more = try await source.next() {
      if bytes.count + more.count > limitBytes { throw .bodyTooLarge(limitBytes: limitBytes) }
      bytes.append(contentsOf: more)
    }
    return bytes
  }
}

private final class MemoryBody: HTTPBodySource {
  private let rest: Mutex<[UInt8]?>

  init(_ bytes: [UInt8]) { rest = Mutex(bytes.isEmpty ? nil : bytes) }

  func next() async throws(WireError) -> [UInt8]? { take() }

  func take() -> [UInt8]? {
    rest.withLock { bytes in
      defer { bytes = nil }
      return bytes
    }
  }
}
