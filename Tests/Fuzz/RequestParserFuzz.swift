// modules: HTTPWire
/// What one way of cutting the input gave.
private struct Outcome: Equatable {
  var heads: [String] = []
  var bodies: [[UInt8]] = []
  var ends = 0
  var error: WireError?
}

private func read(_ bytes: [UInt8], pieces: Int) -> Outcome {
  var limits = HTTPLimits()
  limits.headBytes = 512
  limits.targetBytes = 128
  limits.fields = 8
  limits.bodyBytes = 4096
  limits.chunkExtensionBytes = 32
  var parser = RequestParser(limits: limits)
  var outcome = Outcome()
  var start = 0
  while start < bytes.count {
    let end = min(start + pieces, bytes.count)
    parser.append(bytes[start..<end])
    start = end
    do throws(WireError) {
      loop: while true {
        switch try parser.next() {
        case .needMore: break loop
        case .head(let head):
          // Everything decoded on demand is decoded here, for its bounds.
          let query = head.query.map { "\($0.name)=\($0.value)" }
          outcome.heads.append(
            "\(head.method) \(head.target) \(head.segments) \(query) \(head.fields.list) \(head.host ?? "")")
          outcome.bodies.append([])
        case .body(let piece): outcome.bodies[outcome.bodies.count - 1] += piece
        case .end: outcome.ends += 1
        }
      }
    } catch {
      outcome.error = error
      break
    }
  }
  return outcome
}

/// Any cut of any bytes gives the same requests and the same error.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRequestParser(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let whole = read(bytes, pieces: max(1, count))
  precondition(whole == read(bytes, pieces: 1), "byte by byte differs")
  precondition(whole == read(bytes, pieces: 7), "in sevens differs")
  return 0
}
