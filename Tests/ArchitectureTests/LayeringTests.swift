import Testing

/// What each module may import: of ours and from outside. The picture is in docs/architecture.md.
struct LayeringTests {
  struct Row {
    var ours: Set<String> = []
    var outside: Set<String> = []
  }

  private static let platform: Set<String> = ["Glibc", "Darwin", "Musl", "Synchronization", "Dispatch"]
  private static let foundation: Set<String> = ["Foundation", "FoundationEssentials"]

  static let allowed: [String: Row] = [
    "corad": Row(
      ours: ["API", "HTTPServer", "HTTPClient", "HTTPWire", "Serving", "CContract", "CPlatform"],
      outside: platform.union(foundation).union([
        "FoundationNetworking", "ArgumentParser", "Configuration", "Logging", "ServiceLifecycle",
        "SystemPackage",
      ])),
    "API": Row(
      ours: ["Serving", "Training", "Adapters", "Models", "HTTPWire", "Digests"],
      outside: platform.union(foundation).union(["Logging", "Yams"])),
    "HTTPServer": Row(ours: ["HTTPWire", "COpenSSL", "CPlatform"], outside: platform),
    "HTTPClient": Row(
      ours: ["HTTPWire", "COpenSSL", "CPlatform"], outside: platform.union(foundation)),
    "HTTPWire": Row(outside: ["Synchronization"]),
    "Serving": Row(
      ours: [
        "Scheduling", "Engine", "Training", "Adapters", "Models", "Store", "Tokenizers", "Digests",
      ],
      outside: platform.union(foundation).union(["Logging"])),
    "Engine": Row(
      ours: ["Scheduling", "Training", "Adapters", "Models", "Tensors", "Tokenizers"],
      outside: platform.union(foundation)),
    "Training": Row(
      ours: ["Adapters", "Models", "Tensors", "Tokenizers"],
      outside: platform.union(foundation)),
    "Adapters": Row(
      ours: ["Models", "Tensors", "Safetensors", "Digests"], outside: platform.union(foundation)),
    "Models": Row(
      ours: ["Tensors", "Safetensors", "Digests"], outside: platform.union(foundation)),
    "Scheduling": Row(outside: ["DequeModule", "HeapModule", "OrderedCollections", "Collections"]),
    "Store": Row(outside: platform.union(foundation).union(["GRDB"])),
    "Tokenizers": Row(outside: platform.union(foundation)),
    "Tensors": Row(ours: ["CKernels", "COpenBLAS"], outside: platform),
    "Safetensors": Row(outside: platform.union(foundation)),
    "Digests": Row(ours: ["COpenSSL"], outside: platform.union(foundation)),
    "CKernels": Row(), "CContract": Row(), "CPlatform": Row(), "COpenBLAS": Row(), "COpenSSL": Row(),
  ]

  /// The module that a line imports, or nil: `public import struct Tensors.Matrix` gives `Tensors`.
  static func imported(by line: Substring) -> String? {
    let words = line.split(separator: " ")
    guard let at = words.firstIndex(of: "import"), at + 1 < words.count else { return nil }
    let modifiers: Set<Substring> = [
      "public", "package", "internal", "fileprivate", "private", "@preconcurrency", "@testable", "@_exported",
    ]
    guard words[..<at].allSatisfy(modifiers.contains) else { return nil }
    let kinds: Set<Substring> = [
      "struct", "class", "enum", "protocol", "typealias", "func", "let", "var",
    ]
    var name = words[at + 1]
    if kinds.contains(name), at + 2 < words.count { name = words[at + 2] }
    return name.split(separator: ".").first.map { String($0.prefix { $0 != ";" }) }
  }

  @Test func everyModuleHasARowAndEveryRowAModule() throws {
    #expect(Set(try Repository.modules()) == Set(Self.allowed.keys))
  }

  @Test func importsStayInsideTheTable() throws {
    for path in Repository.files(under: "Sources", suffix: ".swift") {
      let module = String(path.split(separator: "/")[1])
      guard let row = Self.allowed[module] else { continue }
      for (number, line) in try Repository.lines(path) {
        guard let name = Self.imported(by: line) else { continue }
        let permitted = Self.allowed[name] != nil ? row.ours : row.outside
        #expect(permitted.contains(name), "\(path):\(number): \(module) may not import \(name)")
      }
    }
  }

  /// SwiftPM reports an undeclared import only where nothing else brings the module in, and never an unused
  /// permission: so the table's own graph is checked too.
  @Test func theTableHasNoCycle() {
    var left = Self.allowed.mapValues(\.ours)
    while let free = left.first(where: { row in row.value.allSatisfy { left[$0] == nil } }) {
      left[free.key] = nil
    }
    #expect(left.isEmpty, "a cycle among \(left.keys.sorted())")
  }

  @Test(arguments: ["Tensors", "HTTPWire", "HTTPServer", "Scheduling"])
  func foundationStaysOutOfHotModules(_ module: String) throws {
    let row = try #require(Self.allowed[module])
    #expect(row.outside.isDisjoint(with: Self.foundation))
    #expect(!row.outside.contains("FoundationNetworking"))
  }

  @Test(arguments: [
    ("import Tensors", "Tensors"), ("public import struct Tensors.Matrix", "Tensors"),
    ("@preconcurrency internal import GRDB", "GRDB"), ("  import Glibc", "Glibc"),
  ])
  func importLinesAreRead(_ line: String, _ module: String) {
    #expect(Self.imported(by: Substring(line)) == module)
  }

  @Test(arguments: ["// how to import Tensors", "let import_ = 1", "/// import x"])
  func otherLinesAreNotImports(_ line: String) {
    #expect(Self.imported(by: Substring(line)) == nil)
  }
}
