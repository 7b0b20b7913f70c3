/// Records of RFC 4180 out of a byte stream: quoted cells with doubled quotes and line breaks, CRLF or LF.
struct CSVRecords {
  enum Fault: Error, Equatable {
    case quoteInsideCell(line: Int)
    case textAfterQuote(line: Int)
    case openQuote(line: Int)
    case encoding(line: Int)
    case tooLong(line: Int)
    case tooManyCells(line: Int)

    var line: Int {
      switch self {
      case .quoteInsideCell(let line), .textAfterQuote(let line), .openQuote(let line), .encoding(let line),
        .tooLong(let line), .tooManyCells(let line):
        line
      }
    }

    var detail: String {
      switch self {
      case .quoteInsideCell: "a quote stands inside a cell that does not begin with one"
      case .textAfterQuote: "text follows a closing quote"
      case .openQuote: "a quote is never closed"
      case .encoding: "a cell is not UTF-8"
      case .tooLong: "the record is longer than \(Limits.rowBytes) bytes"
      case .tooManyCells: "the record has more than \(Limits.columns) cells"
      }
    }
  }

  struct Record: Equatable {
    /// The line where the record begins, from one.
    let line: Int
    let cells: [String]
  }

  private enum State {
    case start, plain, quoted
    /// A quote inside a quoted cell: the end, or half of a doubled one.
    case quote
    /// CR outside quotes: LF must follow.
    case carriageReturn
  }

  private var state = State.start
  private var cell: [UInt8] = []
  private var cells: [String] = []
  private var line = 1
  private var begin = 1
  private var size = 0
  private var isFirst = true

  mutating func receive(_ bytes: [UInt8], _ records: inout [Record]) throws(Fault) {
    for byte in bytes {
      size += 1
      if size > Limits.rowBytes { throw .tooLong(line: begin) }
      try take(byte, &records)
    }
  }

  mutating func finish(_ records: inout [Record]) throws(Fault) {
    if state == .quoted { throw .openQuote(line: begin) }
    if state != .start || !cells.isEmpty || !cell.isEmpty { try endRecord(&records) }
  }

  private mutating func take(_ byte: UInt8, _ records: inout [Record]) throws(Fault) {
    let quote = UInt8(ascii: "\"")
    switch (state, byte) {
    case (.quoted, quote): state = .quote
    case (.quoted, _):
      if byte == 0x0a { line += 1 }
      cell.append(byte)
    case (.quote, quote):
      cell.append(quote)
      state = .quoted
    case (.carriageReturn, 0x0a), (.start, 0x0a), (.plain, 0x0a), (.quote, 0x0a):
      try endRecord(&records)
      line += 1
      begin = line
    case (.carriageReturn, _):
      throw .textAfterQuote(line: begin)
    case (_, 0x0d): state = .carriageReturn
    case (_, UInt8(ascii: ",")):
      try endCell()
      state = .start
    case (.start, quote) where cell.isEmpty || isMark: state = .quoted
    case (.start, quote), (.plain, quote): throw .quoteInsideCell(line: begin)
    case (.quote, _): throw .textAfterQuote(line: begin)
    default:
      cell.append(byte)
      // A byte order mark stands before the first cell's quote, if any.
      state = isFirst && cells.isEmpty && cell.count <= 3 && Self.mark.starts(with: cell) ? .start : .plain
    }
  }

  private static let mark: [UInt8] = [0xef, 0xbb, 0xbf]
  private var isMark: Bool { isFirst && cells.isEmpty && cell == Self.mark }

  private mutating func endCell() throws(Fault) {
    if isFirst, cells.isEmpty, cell.starts(with: Self.mark) { cell.removeFirst(3) }
    guard let text = String(validating: cell, as: UTF8.self) else { throw .encoding(line: begin) }
    cell.removeAll(keepingCapacity: true)
    cells.append(text)
    if cells.count > Limits.columns { throw .tooManyCells(line: begin) }
  }

  private mutating func endRecord(_ records: inout [Record]) throws(Fault) {
    let isBlank = cells.isEmpty && cell.isEmpty && state != .quote
    if !isBlank {
      try endCell()
      records.append(Record(line: begin, cells: cells))
      isFirst = false
    }
    cells = []
    size = 0
    state = .start
  }
}
