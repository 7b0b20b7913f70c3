import Digests
import Foundation

/// One digest over what a benchmark's figure depends on, so that a later session sees whether the figure still counts:
/// the modules that its folder and Support import, all that those import, its own folder, and what it runs of `peers`.
enum SourceDigest {
  /// Folders beside `Support`, and files of `peers`, by subcommand.
  private static let parts: [String: (folders: [String], peers: [String])] = [
    "accuracy": (["Accuracy"], []), "train": (["Train"], ["peer.py", "train_peer.py"]),
    "infer": (["Infer"], ["peer.py", "infer_peer.py"]), "http": (["HTTP", "Daemon"], ["loop.c"]),
    "swap": (["Swap", "Daemon"], []), "prompt-wait": (["PromptWait"], []),
    "residency": (["Residency", "Daemon"], []),
  ]

  /// `sha256:…`; nil for a command without sources of its own.
  static func of(_ command: String?) -> String? {
    guard let command, let (folders, peers) = parts[command] else { return nil }
    let bench = Places.benchmarks.appendingPathComponent("CoradBench")
    let own = folders.flatMap { files(under: bench.appendingPathComponent($0)) }
    var modules: Set<String> = []
    var open = imports(own + files(under: bench.appendingPathComponent("Support")))
    while let module = open.popFirst() {
      let folder = sources.appendingPathComponent(module)
      guard FileManager.default.fileExists(atPath: folder.path), modules.insert(module).inserted else {
        continue
      }
      open.formUnion(imports(files(under: folder)))
    }
    let all =
      modules.flatMap { files(under: sources.appendingPathComponent($0)) } + own
      + peers.map { Places.benchmarks.appendingPathComponent("peers/\($0)") }
    let root = sources.deletingLastPathComponent().path
    var stream = SHA256Stream()
    for file in all.sorted(by: { $0.path < $1.path }) {
      guard let bytes = FileManager.default.contents(atPath: file.path) else { continue }
      let line = "\(file.path.dropFirst(root.count)) \(Digest.sha256(of: [UInt8](bytes)))\n"
      stream.update(Array(line.utf8))
    }
    return "\(stream.finalize())"
  }

  private static var sources: URL {
    Places.benchmarks.deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent(
      "Sources")
  }

  private static func files(under folder: URL) -> [URL] {
    let all = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: [.isRegularFileKey])
    return (all?.allObjects as? [URL] ?? []).filter {
      (try? $0.resourceValues(forKeys: [.isRegularFileKey]))?.isRegularFile == true
    }
  }

  /// The modules that Swift files import; the kernels and system libraries are imported like any other.
  private static func imports(_ files: [URL]) -> Set<String> {
    var modules: Set<String> = []
    for file in files where file.pathExtension == "swift" {
      let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
      for line in text.split(separator: "\n") where line.contains("import ") {
        let words = line.split(separator: " ")
        guard words.count <= 4, let at = words.firstIndex(of: "import"), at <= 1, at + 1 < words.count else {
          continue
        }
        modules.insert(String(words.last?.split(separator: ".").first ?? ""))
      }
    }
    return modules
  }
}
