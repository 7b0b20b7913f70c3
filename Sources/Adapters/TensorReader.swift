internal import Digests
internal import Safetensors
internal import Tensors

/// Takes tensors and metadata out of one safetensors file and remembers which, so that what is left over is refused.
struct TensorReader {
  let metadata: [String: String]
  private let document: SafetensorsDocument
  private let shapes: [String: [Int]]
  private var unread: Set<String>

  init(_ bytes: [UInt8], format: String) throws(AdapterError) {
    do {
      document = try SafetensorsDocument(bytes: bytes)
    } catch {
      throw .malformed("\(error)")
    }
    metadata = document.metadata
    guard metadata["format"] == format else {
      throw .metadata(key: "format", reason: "is not \(format)")
    }
    var shapes: [String: [Int]] = [:]
    for entry in document.entries {
      guard entry.elementType == .f32 else {
        throw .tensor(name: entry.name, reason: "is \(entry.elementType.rawValue), expected F32")
      }
      shapes[entry.name] = entry.shape
    }
    self.shapes = shapes
    unread = Set(shapes.keys)
  }

  /// All tensor names, sorted.
  var names: [String] { shapes.keys.sorted() }

  func has(_ name: String) -> Bool { shapes[name] != nil }

  func text(_ key: String) throws(AdapterError) -> String {
    guard let text = metadata[key] else { throw .metadata(key: key, reason: "is missing") }
    return text
  }

  func value<Value: RawRepresentable>(_ key: String) throws(AdapterError) -> Value
  where Value.RawValue == String {
    guard let value = Value(rawValue: try text(key)) else {
      throw .metadata(key: key, reason: "has a value that is not known")
    }
    return value
  }

  func digest(_ key: String) throws(AdapterError) -> Digest {
    guard let digest = Digest(try text(key)) else { throw .metadata(key: key, reason: "is not a digest") }
    return digest
  }

  mutating func matrix(_ name: String) throws(AdapterError) -> Matrix {
    let (shape, values) = try take(name)
    guard shape.count == 2, shape[0] >= 1, shape[1] >= 1 else {
      throw .tensor(name: name, reason: "has shape \(shape), expected two dimensions")
    }
    return Matrix(rows: shape[0], columns: shape[1], values: values)
  }

  mutating func vector(_ name: String, count: Int) throws(AdapterError) -> [Float] {
    let (shape, values) = try take(name)
    guard shape == [count] else {
      throw .tensor(name: name, reason: "has shape \(shape), expected [\(count)]")
    }
    return values
  }

  /// A weight and its bias, or nil when neither is there.
  mutating func layer(_ name: String) throws(AdapterError) -> DenseLayer? {
    guard has("\(name).weight") || has("\(name).bias") else { return nil }
    let weight = try matrix("\(name).weight")
    return DenseLayer(weight: weight, bias: try vector("\(name).bias", count: weight.rows))
  }

  /// Refuses the file when a tensor was not taken.
  func finish() throws(AdapterError) {
    if let name = unread.min() { throw .tensor(name: name, reason: "is extra") }
  }

  private mutating func take(_ name: String) throws(AdapterError) -> ([Int], [Float]) {
    guard let shape = shapes[name] else { throw .tensor(name: name, reason: "is missing") }
    unread.remove(name)
    let values: [Float]
    do {
      values = try document.floats(name)
    } catch {
      throw .malformed("\(name): \(error)")
    }
    try requireFinite(values, name)
    return (shape, values)
  }
}

/// Labels as one text: each is its length in UTF-8 bytes, a colon, its bytes, a comma (a netstring), so that any label
/// survives byte for byte.
enum LabelList {
  static func encode(_ labels: [String]) -> String {
    labels.map { "\($0.utf8.count):\($0)," }.joined()
  }

  static func decode(_ text: String) -> [String]? {
    var labels: [String] = []
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      guard let colon = rest.firstIndex(of: UInt8(ascii: ":")), colon > rest.startIndex,
        colon - rest.startIndex <= 9
      else { return nil }
      let digits = rest[rest.startIndex..<colon]
      guard digits.allSatisfy({ (48...57).contains($0) }) else { return nil }
      let count = digits.reduce(0) { $0 * 10 + Int($1 - 48) }
      guard rest.endIndex - colon - 1 > count, rest[colon + 1 + count] == UInt8(ascii: ",") else {
        return nil
      }
      guard let label = String(validating: rest[(colon + 1)..<(colon + 1 + count)], as: UTF8.self) else {
        return nil
      }
      labels.append(label)
      rest = rest[(colon + 2 + count)...]
    }
    return labels
  }
}
