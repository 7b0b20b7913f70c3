import DaemonSupport
import Foundation
import Testing

/// What README and docs tell a reader to type does what they say.
@Suite(.serialized) struct DocumentTests {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  /// Fenced blocks by their info string, in order.
  static func blocks(_ text: String) -> [(info: String, body: String)] {
    var blocks: [(info: String, body: String)] = []
    var open: (info: String, lines: [Substring])?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```") {
        if let block = open {
          blocks.append((block.info, block.lines.joined(separator: "\n")))
          open = nil
        } else {
          open = (String(line.dropFirst(3)), [])
        }
      } else {
        open?.lines.append(line)
      }
    }
    return blocks
  }

  /// Each block `sh test` is run in a folder with the reader's files, against a live daemon; where JSON follows it, its
  /// last line has the members of that.
  @Test func testedBlocksRun() async throws {
    let (daemon, folder) = try await CommandTests.daemon()
    let bin = folder.path + "/bin"
    try FileManager.default.createDirectory(atPath: bin, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      atPath: bin + "/corad", withDestinationPath: LiveDaemon.binary)
    try Self.tickets.write(toFile: folder.path + "/tickets.ndjson", atomically: true, encoding: .utf8)
    let path = bin + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
    var count = 0
    for document in ["README.md", "docs/operations.md", "docs/cli.md", "docs/openai.md"] {
      let blocks = Self.blocks(try Self.text(document))
      for (index, block) in blocks.enumerated() where block.info == "sh test" {
        let script = block.body.replacingOccurrences(
          of: "http://127.0.0.1:8080", with: daemon.addresses[0])
        let folder = folder.path
        let command = try await blocking {
          try Command.run(
            ["bash", "-euo", "pipefail", "-c", script],
            environment: ["PATH": path, "CORAD_URL": daemon.addresses[0]], folder: folder)
        }
        #expect(command.status == 0, "\(document):\n\(script)\n\(command.output)\(command.errors)")
        count += 1
        guard index + 1 < blocks.count, blocks[index + 1].info == "json" else { continue }
        let last = command.output.split(separator: "\n").last.map(String.init) ?? ""
        let shown = try JSONDecoder().decode(JSON.self, from: Data(blocks[index + 1].body.utf8))
        let given = try JSONDecoder().decode(JSON.self, from: Data(last.utf8))
        #expect(Self.form(shown) == Self.form(given), "\(document): \(last)")
      }
    }
    #expect(count >= 2)
    #expect(await daemon.terminate() == .exit(0))
  }

  /// The end of docs/cli.md is what the binary says of itself; `RECORD_DOCS=1` writes it, and the test fails then.
  @Test func theCommandLineIsDocumentedAsItIs() throws {
    let marker = "\n## Help\n"
    let text = try Self.text("docs/cli.md")
    let start = try #require(text.range(of: marker))
    var help = marker + "\nRecorded from `--help` of each command; a test compares it.\n"
    for command in try Self.commands() {
      let said = try Command.corad(command + ["--help"])
      #expect(said.status == 0)
      let lines = said.output.split(separator: "\n", omittingEmptySubsequences: false).map { line in
        String(line).replacing(/\ +$/, with: "")
      }
      help += "\n### \((["corad"] + command).joined(separator: " "))\n\n```text\n"
      help += lines.joined(separator: "\n").trimmingCharacters(in: .newlines) + "\n```\n"
    }
    if ProcessInfo.processInfo.environment["RECORD_DOCS"] == "1" {
      try (text[..<start.lowerBound] + help).write(
        to: Self.root.appendingPathComponent("docs/cli.md"), atomically: true, encoding: .utf8)
    }
    #expect(String(text[start.lowerBound...]) == help, "docs/cli.md is of another binary: RECORD_DOCS=1")
  }

  /// Every command with its subcommands, as the help lists them.
  static func commands(_ command: [String] = []) throws -> [[String]] {
    let lines = try Command.corad(command + ["--help"]).output.split(
      separator: "\n", omittingEmptySubsequences: false)
    guard let start = lines.firstIndex(of: "SUBCOMMANDS:") else { return [command] }
    let names = lines[(start + 1)...].prefix { !$0.isEmpty }.compactMap { line -> String? in
      // Two spaces and the name; what is deeper goes on with a description.
      guard line.hasPrefix("  "), !line.hasPrefix("   ") else { return nil }
      return line.split(separator: " ").first.map(String.init)
    }
    return try [command] + names.flatMap { try commands(command + [$0]) }
  }

  /// The members of an object, and of the first item of a list.
  static func form(_ value: JSON) -> [String] {
    switch value {
    case .object(let members):
      members.flatMap { name, value in [name] + form(value).map { name + "." + $0 } }.sorted()
    case .array(let items): items.first.map(form) ?? []
    default: []
    }
  }

  static let tickets = (0..<48).map { index in
    let rows = [
      ("my card was charged twice for order", "billing"),
      ("the invoice shows a wrong amount for order", "billing"),
      ("the app crashes when I open order", "fault"), ("the page shows an error for order", "fault"),
    ]
    let (text, label) = rows[index % rows.count]
    return "{\"text\": \"\(text) \(index)\", \"label\": \"\(label)\"}\n"
  }.joined()
}
