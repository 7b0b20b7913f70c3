internal import Adapters
internal import Serving
internal import Training

/// A CSV file whose header names the row's fields; `labels` are joined by `|`, an empty optional cell is absent.
struct CSVRows {
  private let decoder: ExampleDecoder
  private var records = CSVRecords()
  private var header: [String]?
  private let errors = FieldCollector()

  init(kind: TaskKind) { decoder = ExampleDecoder(kind: kind) }

  mutating func receive(_ bytes: [UInt8], into rows: inout [TrainingExample]) throws(ServingError) {
    var found: [CSVRecords.Record] = []
    do throws(CSVRecords.Fault) {
      try records.receive(bytes, &found)
    } catch {
      throw .invalidRow(line: error.line, detail: error.detail)
    }
    for record in found { try row(record, into: &rows) }
  }

  mutating func finish(into rows: inout [TrainingExample]) throws(ServingError) {
    var found: [CSVRecords.Record] = []
    do throws(CSVRecords.Fault) {
      try records.finish(&found)
    } catch {
      throw .invalidRow(line: error.line, detail: error.detail)
    }
    for record in found { try row(record, into: &rows) }
  }

  private mutating func row(
    _ record: CSVRecords.Record, into rows: inout [TrainingExample]
  ) throws(ServingError) {
    guard let header else {
      try checkHeader(record)
      header = record.cells
      return
    }
    guard record.cells.count == header.count else {
      throw .invalidRow(
        line: record.line, detail: "the record has \(record.cells.count) cells, the header \(header.count)")
    }
    var members: [JSONMember] = []
    for (name, cell) in zip(header, record.cells) {
      if let value = value(name, cell) { members.append(JSONMember(name, value)) }
    }
    let example = decoder.example(.object(members), pointer: "", errors)
    if let detail = errors.drain() { throw .invalidRow(line: record.line, detail: detail) }
    if let example { rows.append(example) }
  }

  private func value(_ name: String, _ cell: String) -> JSONValue? {
    switch name {
    case "value", "weight":
      if cell.isEmpty { return nil }
      return JSONNumber(cell).map { .number($0) } ?? .string(cell)
    case "labels":
      let labels = cell.isEmpty ? [] : cell.split(separator: "|", omittingEmptySubsequences: false)
      return .array(labels.map { .string(String($0)) })
    default:
      return cell.isEmpty && decoder.fields.optional.contains(name) ? nil : .string(cell)
    }
  }

  private func checkHeader(_ record: CSVRecords.Record) throws(ServingError) {
    let known = decoder.fields.required + decoder.fields.optional
    var seen: [String] = []
    for name in record.cells {
      guard known.contains(name) else {
        throw .invalidRow(
          line: record.line,
          detail: "the header names \"\(name.prefix(64))\", known are \(known.joined(separator: ", "))")
      }
      if seen.contains(name) {
        throw .invalidRow(line: record.line, detail: "the header names \"\(name)\" twice")
      }
      seen.append(name)
    }
    for name in decoder.fields.required where !seen.contains(name) {
      throw .invalidRow(line: record.line, detail: "the header lacks \"\(name)\"")
    }
  }
}
