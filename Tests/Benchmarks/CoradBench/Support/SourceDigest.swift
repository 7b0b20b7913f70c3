import Digests
import Foundation

/// One digest over what a benchmark's figure depends on, so that a later reader sees whether the figure still counts:
/// the modules that its folder and Support import, all that those import, its own folder, and the scripts that it runs. A
/// figure of an encoder does not depend on the files that only a decoder's work runs.
enum SourceDigest {
  /// Folders beside `Support`, and scripts beside `CoradBench`, by subcommand.
  private static let parts: [String: (folders: [String], scripts: [String])] = [
    "accuracy": (["Accuracy"], []), "train": (["Train"], ["peers/peer.py", "peers/train_peer.py"]),
    "infer": (["Infer"], ["peers/peer.py", "peers/infer_peer.py"]),
    "http": (["HTTP", "Daemon"], ["peers/loop.c"]),
    "swap": (["Swap", "Daemon"], []), "residency": (["Residency", "Daemon"], []),
    "decoder-parity": (
      ["DecoderParity", "Decoders"],
      ["peers/peer.py", "peers/decode_peer.py", "data/decoder_folder.py", "data/train_decoder.py"]
    ),
    "decode": (
      ["Decode", "Decoders"],
      [
        "peers/peer.py", "peers/decode_peer.py", "data/decoder_folder.py", "data/make_decoder.py",
        "data/make_gguf.py",
      ]
    ),
    "mixed-decode": (
      ["MixedDecode", "Decode", "Decoders"],
      ["peers/peer.py", "peers/decode_peer.py", "data/decoder_folder.py", "data/make_decoder.py"]
    ),
    "memory": (
      ["Memory", "Residency", "Decode", "Decoders"], ["data/decoder_folder.py", "data/make_decoder.py"]
    ),
    "writers": (["Writers", "Decoders"], ["data/decoder_folder.py", "data/train_decoder.py"]),
    "products": (["Products"], []), "prompt-wait": (["PromptWait"], []),
  ]
  /// Commands whose base is an encoder.
  private static let encoders: Set = ["accuracy", "train", "infer", "http", "swap", "residency"]
  /// Files and folders, in `Sources`, that no encoder's work runs: its blocks, tokenizer and losses are others.
  private static let decodersAlone = [
    "CKernels/decoder.h", "Models/Decoder.swift", "Models/DecoderConfiguration.swift",
    "Models/DecoderTape.swift", "Models/KVCache.swift", "Models/Layers/CausalSelfAttention.swift",
    "Models/Layers/DecoderBlock.swift", "Models/Layers/GatedFeedForward.swift", "Models/Layers/RMSNorm.swift",
    "Models/RotaryScaling.swift", "Tensors/CausalAttention.swift", "Tokenizers/BytePairEncoding.swift",
    "Tokenizers/ChatTemplates/", "Tokenizers/Unigram.swift", "Training/Data/ConversationMessage.swift",
    "Training/Data/WriterEncoder.swift", "Training/Heads/TokenLoss.swift",
  ].map { sources.appendingPathComponent($0).path }

  /// `sha256:…`; nil for a command without sources of its own.
  static func of(_ command: String?) -> String? {
    guard let command, let (folders, scripts) = parts[command] else { return nil }
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
    let unused = encoders.contains(command) ? decodersAlone : []
    let all =
      modules.flatMap { files(under: sources.appendingPathComponent($0)) }
      .filter { file in !unused.contains { file.path.hasPrefix($0) } }
      + own + scripts.map { Places.benchmarks.appendingPathComponent($0) }
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
