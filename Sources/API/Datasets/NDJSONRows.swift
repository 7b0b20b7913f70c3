internal import Adapters
internal import Serving
internal import Training

/// One JSON object a line, however the bytes are cut. Empty lines count and are passed over.
struct NDJSONRows {
  private let decoder: ExampleDecoder
  private var rest: [UInt8] = []
  private var line = 0
  private let errors = FieldCollector()

  init(kind: TaskKind) { decoder = ExampleDecoder(kind: kind) }

  mutating func receive(_ bytes: [UInt8], into rows: inout [TrainingExample]) throws(ServingError) {
    var start = bytes.startIndex
    while let end = bytes[start...].firstIndex(of: 0x0a) {
      rest.append(contentsOf: bytes[start..<end])
      try row(into: &rows)
      start = end + 1
    }
    rest.append(contentsOf: bytes[start...])
    if rest.count > Limits.rowBytes { throw tooLong }
  }

  mutating func finish(into rows: inout [TrainingExample]) throws(ServingError) {
    if !rest.isEmpty { try row(into: &rows) }
  }

  private var tooLong: ServingError {
    .invalidRow(line: line + 1, detail: "the row is longer than \(Limits.rowBytes) bytes")
  }

  private mutating func row(into rows: inout [TrainingExample]) throws(ServingError) {
    if rest.count > Limits.rowBytes { throw tooLong }
    defer { rest.removeAll(keepingCapacity: true) }
    line += 1
    if rest.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { return }
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONReader.read(rest)
    } catch {
      switch error {
      case .malformed(let fault, let offset):
        throw .invalidRow(line: line, detail: "byte \(offset): \(fault.rawValue)")
      case .loneSurrogate(let pointer, _):
        throw .invalidRow(line: line, detail: "\(pointer.dropFirst()) holds half of a surrogate pair")
      }
    }
    let example = decoder.example(value, pointer: "", errors)
    if let detail = errors.drain() { throw .invalidRow(line: line, detail: detail) }
    if let example { rows.append(example) }
  }
}
