public import Safetensors

/// What is wrong with a model folder.
public enum ModelError: Error, Equatable, Sendable {
  /// A file of the folder cannot be read; `code` is errno.
  case unreadable(file: String, code: Int32)
  /// config.json or sentence_bert_config.json is no JSON object, or a field has another type.
  case malformed(file: String, field: String?)
  /// The config names an architecture outside the BERT family.
  case unsupportedArchitecture(String)
  /// A feature of the family that the encoder does not have, such as relative positions or a decoder's mask.
  case unsupportedSetting(field: String, value: String)
  case missingSetting(field: String)
  /// A setting outside what can be a model: not positive, too large, or heads that do not divide the width.
  case settingOutOfRange(field: String, value: Int)
  case weights(SafetensorsError)
  case missingTensor(name: String)
  case wrongShape(name: String, expected: [Int], actual: [Int])
  /// The tensor holds no floats.
  case wrongElementType(name: String, elementType: ElementType)
}

extension ModelError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreadable(let file, let code): "\(file) cannot be read (errno \(code))"
    case .malformed(let file, let field?): "\(file): the field \(field) has the wrong type"
    case .malformed(let file, nil): "\(file) is no JSON object"
    case .unsupportedArchitecture(let name): "the architecture \(name) is not of the BERT family"
    case .unsupportedSetting(let field, let value): "config.json: \(field) \(value) is not supported"
    case .missingSetting(let field): "config.json: \(field) is missing"
    case .settingOutOfRange(let field, let value): "config.json: \(field) \(value) is out of range"
    case .weights(let error): "model.safetensors: \(error)"
    case .missingTensor(let name): "model.safetensors: no tensor \(name)"
    case .wrongShape(let name, let expected, let actual):
      "model.safetensors: \(name) has the shape \(actual) where \(expected) is expected"
    case .wrongElementType(let name, let type):
      "model.safetensors: \(name) holds \(type.rawValue) elements where floats are expected"
    }
  }
}
