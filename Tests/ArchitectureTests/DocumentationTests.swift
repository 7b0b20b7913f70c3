import Foundation
import Testing

/// Documents that cannot go stale unnoticed: links, shell blocks, sizes. EndToEndTests run the blocks.
struct DocumentationTests {
  static func documents() -> [String] {
    let top = ["README.md", "CHANGELOG.md", "Deploy/README.md"]
    return top + Repository.files(under: "docs", suffix: ".md")
  }

  /// Contents of the fenced blocks whose info string is `sh test`.
  static func testedBlocks(_ text: String) -> [String] {
    var blocks: [String] = []
    var open: [Substring]?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if let lines = open {
        if line.hasPrefix("```") {
          blocks.append(lines.joined(separator: "\n"))
          open = nil
        } else {
          open = lines + [line]
        }
      } else if line == "```sh test" {
        open = []
      }
    }
    return blocks
  }

  @Test func relativeLinksResolve() throws {
    for path in Self.documents() {
      let folder = Repository.root.appendingPathComponent(path).deletingLastPathComponent()
      for match in try Repository.text(path).matches(of: /\]\(([^)\s]+)\)/) {
        let target = String(match.1.prefix { $0 != "#" })
        if target.isEmpty || target.contains("://") || target.hasPrefix("mailto:") { continue }
        let exists = FileManager.default.fileExists(atPath: folder.appendingPathComponent(target).path)
        #expect(exists, "\(path): no file at \(target)")
      }
    }
  }

  @Test func theReadmeHasCommandsThatTheShellParses() throws {
    #expect(!Self.testedBlocks(try Repository.text("README.md")).isEmpty)
    for path in Self.documents() {
      for block in Self.testedBlocks(try Repository.text(path)) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["bash", "-n", "-c", block]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(path): bash does not parse\n\(block)")
      }
    }
  }

  /// Documents name only scripts of this checkout that are there, and those that a reader runs may be run.
  @Test func scriptsNamedInDocumentsCanBeRun() throws {
    for path in Self.documents() {
      for match in try Repository.text(path).matches(of: /Deploy\/scripts\/[\w-]+\.(sh|py)/) {
        let script = Repository.root.appendingPathComponent(String(match.0)).path
        #expect(FileManager.default.isExecutableFile(atPath: script), "\(path): \(match.0) cannot be run")
      }
    }
  }

  @Test func noTrackedFileIsLargerThanAMegabyte() throws {
    for path in try #require(Repository.tracked(), "not a git checkout") {
      let file = Repository.root.appendingPathComponent(path).path
      let attributes = try? FileManager.default.attributesOfItem(atPath: file)
      let size = (attributes?[.size] as? Int) ?? 0
      #expect(size <= 1 << 20, "\(path) has \(size) bytes")
    }
  }
}
