// modules: Safetensors
/// Parses, and where the file is accepted holds its promises: every byte belongs to one tensor, and what can be read
/// is written and read again to the same bits.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSafetensors(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  guard let document = try? SafetensorsDocument(bytes: bytes) else { return 0 }
  var cursor = document.header.dataStart
  var floats: [(name: String, shape: [Int], values: [Float])] = []
  for entry in document.entries {
    precondition(entry.byteRange.lowerBound == cursor, "a gap or an overlap was accepted")
    cursor = entry.byteRange.upperBound
    if entry.elementType.isFloat {
      guard let values = try? document.floats(entry.name) else { preconditionFailure("floats of a tensor") }
      precondition(values.count == entry.elementCount, "elements are lost")
      if entry.name != "__metadata__" { floats.append((entry.name, entry.shape, values)) }
    } else {
      _ = try? document.integers(entry.name)
    }
  }
  precondition(cursor == bytes.count, "trailing bytes were accepted")
  let written = SafetensorsEncoder.encode(floats, metadata: document.metadata)
  guard let again = try? SafetensorsDocument(bytes: written) else {
    preconditionFailure("our own file is refused")
  }
  precondition(again.metadata == document.metadata, "metadata changed")
  for tensor in floats {
    guard let values = try? again.floats(tensor.name) else { preconditionFailure("a tensor is lost") }
    precondition(values.map(\.bitPattern) == tensor.values.map(\.bitPattern), "bits changed")
  }
  return 0
}
