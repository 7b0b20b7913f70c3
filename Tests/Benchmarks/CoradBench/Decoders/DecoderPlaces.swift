import Foundation
import Models
import Tokenizers

/// Decoders that the scripts in `data` make outside the tree.
extension Places {
  /// The trained decoder's folder; trained when there is none.
  static func trainedDecoder(_ given: String?, python: String) throws -> TrainedDecoder {
    let folder = try given ?? script("train_decoder.py", [], python: python)
    return TrainedDecoder(folder: URL(fileURLWithPath: folder))
  }

  /// A real configuration with random weights in bfloat16.
  static func decoder(_ given: String?, shape: DecoderShape, python: String) throws -> String {
    try given ?? script("make_decoder.py", [shape.rawValue], python: python)
  }

  /// A decoder's folder in llama.cpp's format; made where the weights are newer.
  static func gguf(_ model: String, element: String, python: String) throws -> String {
    try script("make_gguf.py", [model, element], python: python)
  }

  private static func script(_ name: String, _ arguments: [String], python: String) throws -> String {
    try output(python, [benchmarks.appendingPathComponent("data/\(name)").path] + arguments)
  }
}

/// What `make_decoder.py` knows.
enum DecoderShape: String, CaseIterable, Codable {
  case smolLM = "smollm2-135m"
  case qwen = "qwen2.5-0.5b"
}

/// The folder that `train_decoder.py` makes.
struct TrainedDecoder {
  let folder: URL

  /// A text of a writer.
  struct Text: Codable, Sendable {
    let prompt: String
    let completion: String
  }

  /// What the script measured itself.
  struct Manifest: Codable {
    let parameters: Int
    let heldOutPerplexity: Double
    let unigramPerplexity: Double
    let heldOutTokens: Int

    private enum CodingKeys: String, CodingKey {
      case parameters
      case heldOutPerplexity = "held_out_perplexity"
      case unigramPerplexity = "unigram_perplexity"
      case heldOutTokens = "held_out_tokens"
    }
  }

  var model: String { folder.appendingPathComponent("model").path }

  func manifest() throws -> Manifest {
    try JSONDecoder().decode(
      Manifest.self, from: Data(contentsOf: folder.appendingPathComponent("manifest.json")))
  }

  /// Texts of source packages that it was not trained on.
  func heldOut() throws -> [Text] { try read("heldout.ndjson") }

  /// Its tasks, in order.
  func tasks() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.appendingPathComponent("tasks").path).sorted()
  }

  /// A task's rows: `train` or `heldout`.
  func rows(_ task: String, _ side: String) throws -> [Text] { try read("tasks/\(task)/\(side).ndjson") }

  private func read(_ name: String) throws -> [Text] {
    let decoder = JSONDecoder()
    let text = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
    return try text.split(separator: "\n").map { try decoder.decode(Text.self, from: Data($0.utf8)) }
  }
}

extension Tokenizer {
  /// The tokenizer of a model folder.
  init(folder: String) throws {
    try self.init(json: [UInt8](Data(contentsOf: URL(fileURLWithPath: folder + "/tokenizer.json"))))
  }
}
