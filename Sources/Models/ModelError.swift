public import Safetensors

/// What is wrong with a model folder.
public enum ModelError: Error, Equatable, Sendable {
  /// A file of the folder cannot be read; `code` is errno.
  case unreadable(file: String, code: Int32)
  /// A JSON file of the folder, such as config.json, is no object, or a field has another type.
  case malformed(file: String, field: String?)
  /// The config names an architecture that we do not have.
  case unsupportedArchitecture(String)
  /// A feature that our models do not have, such as relative positions or another scaling of rotary positions.
  case unsupportedSetting(field: String, value: String)
  case missingSetting(field: String)
  /// A setting outside what can be a model: not positive, too large, or heads that do not divide the width.
  case settingOutOfRange(field: String, value: Int)
  case weights(SafetensorsError)
  /// One of several weight files; `file` is its name in the folder.
  case shard(file: String, SafetensorsError)
  case missingTensor(name: String)
  case wrongShape(name: String, expected: [Int], actual: [Int])
  /// The tensor holds no floats.
  case wrongElementType(name: String, elementType: ElementType)
  /// A NaN or an infinity in a tensor, or in what is computed from the weights.
  case notFinite(name: String)
}

extension ModelError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreadable(let file, let code): "\(file) cannot be read (errno \(code))"
    case .malformed(let file, let field?): "\(file): the field \(field) has the wrong type"
    case .malformed(let file, nil): "\(file) is no JSON object"
    case .unsupportedArchitecture(let name):
      "the architecture \(name) is none of bert, llama, mistral, qwen2, qwen3"
    case .unsupportedSetting(let field, let value): "config.json: \(field) \(value) is not supported"
    case .missingSetting(let field): "config.json: \(field) is missing"
    case .settingOutOfRange(let field, let value): "config.json: \(field) \(value) is out of range"
    case .weights(let error): "model.safetensors: \(error)"
    case .shard(let file, let error): "\(file): \(error)"
    case .missingTensor(let name): "the checkpoint has no tensor \(name)"
    case .wrongShape(let name, let expected, let actual):
      "the tensor \(name) has the shape \(actual) where \(expected) is expected"
    case .wrongElementType(let name, let type):
      "the tensor \(name) holds \(type.rawValue) elements where floats are expected"
    case .notFinite(let name): "\(name) holds a value that is not finite"
    }
  }
}
