internal import Foundation
internal import Models
internal import Tokenizers

/// A model folder, each of its files read once and held against the others.
struct ModelFolder: Sendable {
  /// config.json, the weights and generation_config.json.
  let checkpoint: Checkpoint
  let tokenizer: Tokenizer
  /// A decoder's conversation templates and special tokens; nil for an encoder.
  let chat: ChatTemplateFolder?

  /// - Throws: `.validation` naming the fault.
  init(directory: String) throws(ServingError) {
    do throws(ModelError) {
      checkpoint = try Checkpoint(directory: directory)
    } catch {
      throw .validation([FieldError("model", "\(error)")])
    }
    func read(_ name: String) -> [UInt8]? {
      FileManager.default.contents(atPath: directory + "/" + name).map { [UInt8]($0) }
    }
    guard let json = read("tokenizer.json") else {
      throw .validation([FieldError("model", "has no tokenizer.json")])
    }
    do throws(TokenizerError) {
      tokenizer = try Tokenizer(json: json)
      chat =
        switch checkpoint.configuration.family {
        case .encoder: nil
        case .decoder:
          try ChatTemplateFolder(
            configuration: read("tokenizer_config.json"), template: read("chat_template.jinja"))
        }
    } catch {
      throw .validation([FieldError("model", "\(error)")])
    }
    // An id without a vector would end the daemon at the first text that has the token.
    let vocabulary = checkpoint.configuration.vocabularySize
    guard tokenizer.vocabularySize <= vocabulary else {
      throw .validation([
        FieldError(
          "model", "tokenizer.json has \(tokenizer.vocabularySize) tokens, the weights have \(vocabulary)")
      ])
    }
  }
}
