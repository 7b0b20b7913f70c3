internal import ArgumentParser
internal import Foundation

/// A file of training rows on its way to the daemon.
struct RowFile {
  let path: String
  let isCSV: Bool
  let bytes: Int
  /// What the first row's fields say; nil where they do not.
  let kind: String?

  init(_ path: String) throws {
    self.path = path
    isCSV = path.lowercased().hasSuffix(".csv")
    guard let file = FileHandle(forReadingAtPath: path),
      let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
    else { throw ValidationError("\(path) cannot be read.") }
    defer { try? file.close() }
    bytes = size
    let start = [UInt8](try file.read(upToCount: 1 << 20) ?? Data())
    let line = Array(start.prefix { $0 != 0x0a && $0 != 0x0d })
    kind = Self.kind(isCSV ? Self.header(line) : Self.members(line))
  }

  var mediaType: String { isCSV ? "text/csv" : "application/x-ndjson" }

  /// The file in pieces; nil at its end.
  func pieces() throws -> () throws -> [UInt8]? {
    guard let file = FileHandle(forReadingAtPath: path) else {
      throw ValidationError("\(path) cannot be read.")
    }
    return {
      guard let data = try file.read(upToCount: 256 << 10), !data.isEmpty else { return nil }
      return [UInt8](data)
    }
  }

  /// The lines of an NDJSON file that are not blank.
  func lines() throws -> [ArraySlice<UInt8>] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ValidationError("\(path) cannot be read.")
    }
    return [UInt8](data).split(separator: 0x0a).filter { line in
      !line.allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }
    }
  }

  static func kind(_ fields: Set<String>) -> String? {
    if fields.contains("anchor") { return "embedding" }
    if fields.contains("completion") || fields.contains("messages") { return "generation" }
    if fields.contains("labels") { return "multilabel" }
    if fields.contains("label") { return "classification" }
    return fields.contains("value") ? "regression" : nil
  }

  private static func members(_ line: [UInt8]) -> Set<String> {
    guard case .object(let members)? = try? JSON(bytes: line) else { return [] }
    return Set(members.keys)
  }

  private static func header(_ line: [UInt8]) -> Set<String> {
    Set(
      String(decoding: line, as: UTF8.self).split(separator: ",").map {
        $0.trimmingCharacters(in: CharacterSet(charactersIn: "\" \u{feff}"))
      })
  }
}
