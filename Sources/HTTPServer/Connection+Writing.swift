internal import HTTPWire
internal import Synchronization

/// Answers are held until the jobs that wait on the loop have run, and then written in a row with those of others; who
/// asks for more than the socket takes waits for room.
extension Connection {
  /// Has the loop call `writeNow`, where there is something to write.
  func askForWrite() {
    guard !unsent.isEmpty, !isWriteAsked else { return }
    isWriteAsked = true
    loop.writeLater(self)
  }

  /// Writes answers that wait, as far as there is room.
  nonisolated func writeNow() {
    onLoop(0) { connection, _ in connection.writeUnsent() }
  }

  private func writeUnsent() {
    isWriteAsked = false
    // A Task that waits for room has taken them.
    guard !unsent.isEmpty, !isGone else { return }
    // Until the socket is full, or no event comes that goes on: TLS takes a record at a time.
    while true {
      switch unsent.withUnsafeBytes({ transport.write($0) }) {
      case .bytes(let count):
        loop.counters.sent.wrappingAdd(count, ordering: .relaxed)
        if count == unsent.count {
          writeDeadline = .max
          return loop.giveBack(&unsent)
        }
        unsent.removeFirst(count)
      case .wouldBlock:
        isWritable = false
        writeDeadline = loop.now + times.write
        return schedule(writeDeadline)
      case .end, .failed:
        isGone = true
        if phase == .handling { leave() }
        return wake()
      }
    }
  }

  /// Writes the answers that wait, waiting for room.
  func sendUnsent() async throws(WireError) {
    if unsent.isEmpty { return }
    let bytes = unsent
    unsent = []
    try await send(bytes)
  }

  /// Writes everything, waiting for room: this is the back-pressure of answers.
  func send(_ bytes: [UInt8]) async throws(WireError) {
    var offset = 0
    while offset < bytes.count {
      if isGone { throw .peerGone }
      if isWritable {
        let outcome = bytes.withUnsafeBytes {
          transport.write(UnsafeRawBufferPointer(rebasing: $0[offset...]))
        }
        switch outcome {
        case .bytes(let count):
          offset += count
          loop.counters.sent.wrappingAdd(count, ordering: .relaxed)
        case .wouldBlock: isWritable = false
        case .end, .failed:
          isGone = true
          throw .peerGone
        }
        continue
      }
      writeDeadline = loop.now + times.write
      schedule(writeDeadline)
      await awaitWritable()
      if writeDeadline <= loop.now, !isWritable {
        loop.counters.timeouts.wrappingAdd(1, ordering: .relaxed)
        isGone = true
        task?.cancel()
        throw .peerGone
      }
      writeDeadline = .max
    }
  }
}
