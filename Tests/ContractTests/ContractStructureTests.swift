import Foundation
import Testing

@testable import API

/// `openapi.yaml` and the router's table say the same, in both directions.
@Suite struct ContractStructureTests {
  /// The contract's operations, read by the indentation that the file keeps.
  private static func contract() throws -> [String] {
    let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let text = try String(contentsOfFile: "/\(root)/openapi.yaml", encoding: .utf8)
    return text.split(separator: "\n").map(String.init)
  }

  @Test func operationsAreTheRouters() throws {
    var found: Set<String> = []
    var isInPaths = false
    var path = ""
    var method = ""
    for line in try Self.contract() {
      if !line.hasPrefix(" ") { isInPaths = line == "paths:" }
      guard isInPaths else { continue }
      if line.hasPrefix("  /") { path = String(line.dropFirst(2).dropLast()) }
      if line.hasPrefix("    "), !line.hasPrefix("     ") {
        method = line.dropFirst(4).dropLast().uppercased()
      }
      if line.hasPrefix("      operationId: ") {
        #expect(found.insert("\(method) \(path) \(line.dropFirst(19))").inserted, "\(line)")
      }
    }
    let table = Endpoint.allCases.map { "\($0.route.method) \($0.route.path) \($0.rawValue)" }
    #expect(found == Set(table))
  }

  @Test func everyCodeIsDocumented() throws {
    let lines = try Self.contract()
    let start = try #require(lines.firstIndex { $0.hasPrefix("  schemas:") })
    let words = Set(
      lines[start...].filter { $0.hasPrefix("        - ") || $0.hasPrefix("          - ") }.map {
        $0.drop { $0 == " " || $0 == "-" }
      })
    for code in ProblemCode.allCases { #expect(words.contains(Substring(code.rawValue)), "\(code.rawValue)") }
  }

  @Test func objectsAreClosed() throws {
    let lines = try Self.contract()
    let start = try #require(lines.firstIndex { $0.hasPrefix("  schemas:") })
    for (index, line) in lines.enumerated() where index > start && line.hasSuffix("type: object") {
      let around = lines[index...min(index + 200, lines.count - 1)]
      #expect(around.contains { $0.contains("additionalProperties:") }, "line \(index + 1)")
    }
  }
}
