/// Writes float tensors as a safetensors file; equal input gives equal bytes.
public enum SafetensorsEncoder {
  /// Header: metadata first, then tensors, each sorted by the bytes of its name; data in the same order, F32
  /// little-endian; spaces after the header bring the data to a multiple of eight bytes.
  ///
  /// - Parameters:
  ///   - tensors: names are unique and not `__metadata__`; `values` has as many elements as `shape`.
  ///   - metadata: empty leaves the key out.
  public static func encode(
    _ tensors: [(name: String, shape: [Int], values: [Float])], metadata: [String: String]
  ) -> [UInt8] {
    let sorted = tensors.sorted { precedes($0.name, $1.name) }
    var header: [UInt8] = [UInt8(ascii: "{")]
    if !metadata.isEmpty { appendMetadata(metadata, to: &header) }
    var offset = 0
    for (index, tensor) in sorted.enumerated() {
      precondition(
        tensor.name != SafetensorsHeader.metadataKey && (index == 0 || sorted[index - 1].name != tensor.name),
        "tensor name \(tensor.name) is reserved or stands twice")
      precondition(
        tensor.shape.reduce(1, *) == tensor.values.count, "\(tensor.name): shape and values differ")
      if header.count > 1 { header.append(UInt8(ascii: ",")) }
      let end = offset + tensor.values.count * 4
      appendString(tensor.name, to: &header)
      let shape = tensor.shape.map { "\($0)" }.joined(separator: ",")
      header += Array(
        ":{\"dtype\":\"F32\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}".utf8)
      offset = end
    }
    header.append(UInt8(ascii: "}"))
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }

    var file: [UInt8] = []
    file.reserveCapacity(8 + header.count + offset)
    withUnsafeBytes(of: UInt64(header.count).littleEndian) { file += $0 }
    file += header
    for tensor in sorted { tensor.values.withUnsafeBytes { file += $0 } }
    return file
  }

  private static func appendMetadata(_ metadata: [String: String], to header: inout [UInt8]) {
    appendString(SafetensorsHeader.metadataKey, to: &header)
    header += Array(":{".utf8)
    for (index, pair) in metadata.sorted(by: { precedes($0.key, $1.key) }).enumerated() {
      if index > 0 { header.append(UInt8(ascii: ",")) }
      appendString(pair.key, to: &header)
      header.append(UInt8(ascii: ":"))
      appendString(pair.value, to: &header)
    }
    header.append(UInt8(ascii: "}"))
  }

  /// By bytes: independent of Unicode's tables, which change.
  private static func precedes(_ first: String, _ second: String) -> Bool {
    first.utf8.lexicographicallyPrecedes(second.utf8)
  }

  private static func appendString(_ text: String, to header: inout [UInt8]) {
    let digits = Array("0123456789abcdef".utf8)
    header.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        header.append(UInt8(ascii: "\\"))
        header.append(byte)
      case 0..<0x20:
        header += Array("\\u00".utf8)
        header.append(digits[Int(byte >> 4)])
        header.append(digits[Int(byte & 15)])
      default:
        header.append(byte)
      }
    }
    header.append(UInt8(ascii: "\""))
  }
}
