internal import Foundation
internal import Models
internal import Tokenizers

/// What a model folder holds, without a daemon.
public struct ModelInspection: Sendable {
  public let digest: String
  public let architecture: String
  public let parameters: Int
  public let elementType: String
  public let width: Int
  public let layers: Int
  public let heads: Int
  /// Tokens that a text may have.
  public let contextTokens: Int
  public let vocabulary: Int
  public let sites: [(name: String, inputs: Int, outputs: Int)]

  /// Reads the whole folder, so that what the daemon would refuse is refused here.
  ///
  /// - Throws: `.validation` naming the fault.
  public init(directory: String) throws(ServingError) {
    let checkpoint: Checkpoint
    do throws(ModelError) {
      checkpoint = try Checkpoint(directory: directory)
    } catch {
      throw .validation([FieldError("model", "\(error)")])
    }
    guard let bytes = FileManager.default.contents(atPath: directory + "/tokenizer.json") else {
      throw .validation([FieldError("model", "has no tokenizer.json")])
    }
    do throws(TokenizerError) {
      vocabulary = try Tokenizer(json: [UInt8](bytes)).vocabularySize
    } catch {
      throw .validation([FieldError("model", "\(error)")])
    }
    let shape = checkpoint.configuration
    digest = "\(checkpoint.digest)"
    architecture = shape.modelType
    parameters = checkpoint.parameterCount
    elementType = checkpoint.elementTypeName
    width = shape.hiddenSize
    layers = shape.layers
    heads = shape.heads
    contextTokens = checkpoint.textLimit
    sites = checkpoint.sites.map { ($0.name, $0.inputs, $0.outputs) }
  }
}
