internal import Foundation
internal import Logging

/// Log lines as JSON objects on standard error, one write each.
struct LogLines: LogHandler {
  let label: String
  var logLevel: Logger.Level = .info
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?

  init(label: String) { self.label = label }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { $1 }
    FileHandle.standardError.write(
      Data(Self.line(time: Date(), level: event.level, "\(event.message)", label, all).utf8))
  }

  static func line(
    time: Date, level: Logger.Level, _ message: String, _ label: String, _ metadata: Logger.Metadata
  ) -> String {
    var members: [(String, JSON)] = [
      (
        "time",
        .string(
          time.formatted(
            .iso8601.year().month().day().time(includingFractionalSeconds: true).timeZone(separator: .omitted)
          ))
      ),
      ("level", .string(level.rawValue)), ("label", .string(label)), ("message", .string(message)),
    ]
    members += metadata.sorted { $0.key < $1.key }.map { ($0.key, .string("\($0.value)")) }
    let text = members.map { name, value in
      "\(quoted(name)):\(quoted(value.text))"
    }
    return "{" + text.joined(separator: ",") + "}\n"
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case _ where scalar.value < 0x20: result += "\\u" + String(format: "%04x", scalar.value)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
