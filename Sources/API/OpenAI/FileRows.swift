internal import Adapters
internal import Serving
internal import Training

/// The beginning of a file until its first row shows what kind all rows are of.
struct FirstRow {
  /// All that was received; blank lines count as the reader of the rows counts them.
  private(set) var bytes: [UInt8] = []
  /// Where the first line begins that may hold a row, and its number.
  private var start = 0
  private var line = 1

  /// - Parameter isLast: the file ends with these bytes.
  /// - Returns: the kind, nil where no row is whole yet.
  /// - Throws: `.invalidRow` where the first row is too long.
  mutating func receive(_ more: [UInt8], isLast: Bool) throws(ServingError) -> TaskKind? {
    var searched = bytes.count
    bytes.append(contentsOf: more)
    while start < bytes.count {
      let end = bytes[searched...].firstIndex(of: 0x0a)
      if end == nil, !isLast { break }
      let row = Array(bytes[start..<(end ?? bytes.count)])
      if !row.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) {
        return FileRows.kind(of: row)
      }
      start = (end ?? bytes.count - 1) + 1
      searched = start
      line += 1
    }
    if bytes.count > Limits.rowBytes {
      throw .invalidRow(line: line, detail: "no row ends within \(Limits.rowBytes) bytes")
    }
    return nil
  }
}

/// The rows of a file: JSON lines of any kind that tasks have.
enum FileRows {
  fileprivate static func kind(of row: [UInt8]) -> TaskKind {
    // What is no JSON is refused by the reader of all rows, in its words.
    guard let row = try? JSONReader.read(row) else { return .classification }
    return ExampleDecoder.kind(of: row)
  }

  /// A line each, as they would be read again.
  static func lines(_ rows: [TrainingExample]) -> [UInt8] {
    var bytes: [UInt8] = []
    for row in rows {
      bytes += JSONWriter.object { $0.fields(of: row) }
      bytes.append(0x0a)
    }
    return bytes
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of row: TrainingExample) {
    switch row {
    case .classification(let text, let pair, let label, let weight):
      fields(text, pair, weight)
      member("label", label)
    case .multilabel(let text, let pair, let labels, let weight):
      fields(text, pair, weight)
      member("labels", labels)
    case .regression(let text, let pair, let value, let weight):
      fields(text, pair, weight)
      member("value", value)
    case .embedding(let anchor, let positive, let negative):
      member("anchor", anchor)
      member("positive", positive)
      if let negative { member("negative", negative) }
    case .completion(let prompt, let completion, let weight):
      member("prompt", prompt)
      member("completion", completion)
      if weight != 1 { member("weight", weight) }
    case .conversation(let messages, let weight):
      name("messages")
      array(messages) { writer, message in
        writer.object {
          $0.member("role", message.role.rawValue)
          $0.member("content", message.content)
        }
      }
      if weight != 1 { member("weight", weight) }
    }
  }

  private mutating func fields(_ text: String, _ pair: String?, _ weight: Float) {
    member("text", text)
    if let pair { member("text_pair", pair) }
    if weight != 1 { member("weight", weight) }
  }
}
