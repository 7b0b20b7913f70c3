import Foundation

/// The checkout as text: what the architecture tests read.
enum Repository {
  /// The package's root folder, found from this file's own place.
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Paths under `folder` that end in `suffix`, relative to the root, sorted; hidden folders are passed over.
  static func files(under folder: String, suffix: String) -> [String] {
    let base = root.appendingPathComponent(folder).path
    guard let walk = FileManager.default.enumerator(atPath: base) else { return [] }
    var found: [String] = []
    for case let path as String in walk where path.hasSuffix(suffix) {
      if path.split(separator: "/").contains(where: { $0.hasPrefix(".") }) { continue }
      found.append(folder.isEmpty ? path : folder + "/" + path)
    }
    return found.sorted()
  }

  static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  /// Lines of a file, numbered from one.
  static func lines(_ path: String) throws -> [(number: Int, text: Substring)] {
    try text(path).split(separator: "\n", omittingEmptySubsequences: false).enumerated()
      .map { ($0.offset + 1, $0.element) }
  }

  /// Names of the folders right under Sources: the modules.
  static func modules() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent("Sources").path)
      .filter { !$0.hasPrefix(".") }.sorted()
  }

  /// Files that git keeps, with paths relative to the root; nil where this is not a checkout.
  static func tracked() -> [String]? {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["git", "-C", root.path, "ls-files", "-z"]
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let bytes = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { return nil }
    return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }
}
