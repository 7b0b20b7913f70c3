internal import Foundation

/// The two streams of a command: results to one, everything else to the other.
enum Terminal {
  /// Whether errors and progress are read by a person.
  static var isInteractive: Bool { isatty(STDERR_FILENO) == 1 }

  static func print(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
  static func complain(_ text: String) { progress(text + "\n") }
  static func progress(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }

  /// Columns as wide as their widest cell; the last one as it comes.
  static func table(_ header: [String], _ rows: [[String]]) -> String {
    let widths = header.indices.map { column in
      ([header] + rows).map { $0[column].count }.max() ?? 0
    }
    return ([header] + rows).map { row in
      row.enumerated().map { column, cell in
        column == row.count - 1
          ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }

  /// A record, a line for each member.
  static func record(_ members: [(String, JSON?)]) -> String {
    let width = members.map(\.0.count).max() ?? 0
    return members.map { name, value in
      name + String(repeating: " ", count: width - name.count) + "  " + (value?.text ?? "-")
    }.joined(separator: "\n")
  }

  /// `1.5 MB`
  static func bytes(_ count: Int?) -> String {
    guard let count else { return "-" }
    let units = ["B", "kB", "MB", "GB", "TB"]
    var value = Double(count)
    var unit = 0
    while value >= 1_000, unit < units.count - 1 {
      value /= 1_000
      unit += 1
    }
    return unit == 0 ? "\(count) B" : String(format: "%.1f %@", value, units[unit])
  }
}
