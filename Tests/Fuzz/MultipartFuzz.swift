// modules: HTTPWire
/// What one way of cutting the input gave.
private struct Outcome: Equatable {
  var parts: [String] = []
  var contents: [[UInt8]] = []
  var ends = 0
  var isWhole = false
  var error: WireError?
}

private func read(_ bytes: [UInt8], boundary: String, pieces: Int) -> Outcome {
  var limits = MultipartParser.Limits()
  limits.parts = 4
  limits.headBytes = 128
  limits.fields = 3
  limits.preambleBytes = 16
  limits.paddingBytes = 4
  var parser = MultipartParser(boundary: boundary, limits: limits)
  var outcome = Outcome()
  do throws(WireError) {
    var start = 0
    while start < bytes.count {
      let end = min(start + pieces, bytes.count)
      parser.append(Array(bytes[start..<end]))
      start = end
      loop: while true {
        switch try parser.next() {
        case .needMore: break loop
        case .part(let part):
          outcome.parts.append("\(part.name) \(part.fileName ?? "-") \(part.fields.list)")
          outcome.contents.append([])
        case .content(let piece):
          precondition(!piece.isEmpty)
          outcome.contents[outcome.contents.count - 1] += piece
        case .endOfPart: outcome.ends += 1
        case .end:
          outcome.isWhole = true
          break loop
        }
      }
    }
    try parser.finish()
  } catch {
    outcome.error = error
  }
  return outcome
}

/// A Content-Type, a zero byte, a body: any cut gives the same parts and the same error, and no content holds a delimiter.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMultipart(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let split = bytes.firstIndex(of: 0) ?? bytes.startIndex
  let boundary = MultipartParser.boundary(of: String(decoding: bytes[..<split], as: UTF8.self)) ?? "b"
  let body = Array(bytes[split...].drop { $0 == 0 })
  let whole = read(body, boundary: boundary, pieces: max(1, body.count))
  precondition(whole == read(body, boundary: boundary, pieces: 1), "byte by byte differs")
  precondition(whole == read(body, boundary: boundary, pieces: 7), "in sevens differs")
  precondition(whole.isWhole == (whole.error == nil), "whole and refused")
  precondition(whole.parts.count <= 4)
  let delimiter = Array("\r\n--\(boundary)".utf8)
  for content in whole.contents {
    precondition(!content.indices.contains { content[$0...].starts(with: delimiter) }, "a delimiter inside")
  }
  return 0
}
