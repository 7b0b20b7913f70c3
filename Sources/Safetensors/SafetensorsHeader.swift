/// A file's table of tensors, read strictly.
///
///     u64 little-endian length of the header · header, JSON padded with spaces · tensor bytes
///
/// Every byte after the header belongs to exactly one tensor. Source: the format's description in
/// huggingface/safetensors, README and `tensor.rs`.
public struct SafetensorsHeader: Sendable, Equatable {
  /// The format's own limit on the header.
  public static let limitBytes = 100_000_000
  /// More dimensions than any tensor has; bounds the work a hostile shape can ask for.
  static let limitDimensions = 16
  static let metadataKey = "__metadata__"

  /// By offset; tensors without elements stand before the one that shares their offset.
  public let entries: [TensorEntry]
  public let metadata: [String: String]
  /// Where tensor bytes start in the file.
  public let dataStart: Int

  /// Reads the header of a whole file.
  ///
  /// Names are compared by canonical equivalence, so two spellings of one name are a duplicate.
  /// - Parameter bytes: the whole file, header and tensors.
  /// - Throws: the first fault met: length, then text, then each tensor's size, then the layout by offset.
  public static func parse(_ bytes: UnsafeRawBufferPointer) throws(SafetensorsError) -> SafetensorsHeader {
    guard bytes.count >= 8 else { throw .truncated(bytes: bytes.count) }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length <= UInt64(limitBytes) else { throw .headerTooLarge(bytes: length) }
    let headerBytes = Int(length)
    guard headerBytes <= bytes.count - 8 else {
      throw .headerBeyondFile(headerBytes: headerBytes, fileBytes: bytes.count)
    }
    var table = Table(dataStart: 8 + headerBytes, fileBytes: bytes.count)
    var reader = HeaderReader(bytes, range: 8..<table.dataStart)
    // The format starts with a brace: white space before it is refused.
    guard headerBytes > 0, bytes[8] == UInt8(ascii: "{") else { throw reader.fault(.unexpectedByte) }
    try reader.object { (reader, key) throws(SafetensorsError) in
      try table.read(key, from: &reader)
    }
    try reader.finish()
    return try table.header()
  }

  /// What has been read so far.
  private struct Table {
    let dataStart: Int
    let fileBytes: Int
    var entries: [TensorEntry] = []
    var names: Set<String> = []
    var metadata: [String: String] = [:]

    init(dataStart: Int, fileBytes: Int) {
      self.dataStart = dataStart
      self.fileBytes = fileBytes
    }

    mutating func read(_ key: String, from reader: inout HeaderReader) throws(SafetensorsError) {
      guard names.insert(key).inserted else { throw .duplicate(name: key) }
      if key == metadataKey {
        try readMetadata(&reader)
      } else {
        entries.append(try tensor(key, &reader))
      }
    }

    private mutating func readMetadata(_ reader: inout HeaderReader) throws(SafetensorsError) {
      var pairs: [String: String] = [:]
      try reader.object { (reader, key) throws(SafetensorsError) in
        let value = try reader.string()
        guard pairs.updateValue(value, forKey: key) == nil else { throw .duplicate(name: key) }
      }
      metadata = pairs
    }

    private func tensor(
      _ name: String, _ reader: inout HeaderReader
    ) throws(SafetensorsError) -> TensorEntry {
      var typeText: String?
      var shape: [Int]?
      var offsets: [Int]?
      try reader.object { (reader, field) throws(SafetensorsError) in
        switch field {
        case "dtype":
          guard typeText == nil else { throw .duplicate(name: field) }
          typeText = try reader.string()
        case "shape":
          guard shape == nil else { throw .duplicate(name: field) }
          shape = try reader.numbers(limit: limitDimensions)
        case "data_offsets":
          guard offsets == nil else { throw .duplicate(name: field) }
          offsets = try reader.numbers(limit: 2)
        default:
          throw reader.fault(.unknownField)
        }
      }
      guard let typeText, let shape, let offsets, offsets.count == 2 else {
        throw reader.fault(.missingField)
      }
      guard let type = ElementType(rawValue: typeText) else {
        throw .unknownElementType(name: name, text: typeText)
      }
      let room = fileBytes - dataStart
      guard offsets[0] <= offsets[1], offsets[1] <= room else { throw .offsetsOutsideFile(name: name) }
      let expected = try byteCount(of: shape, type, name: name)
      let actual = offsets[1] - offsets[0]
      guard expected == actual else {
        throw .wrongSize(name: name, expectedBytes: expected, actualBytes: actual)
      }
      return TensorEntry(
        name: name, elementType: type, shape: shape,
        byteRange: dataStart + offsets[0]..<dataStart + offsets[1])
    }

    /// Overflow is judged over the dimensions that are not zero, so no order of them hides it.
    private func byteCount(
      of shape: [Int], _ type: ElementType, name: String
    ) throws(SafetensorsError) -> Int {
      var product = type.byteCount
      for dimension in shape where dimension != 0 {
        let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
        guard !overflow else { throw .shapeOverflow(name: name) }
        product = next
      }
      return shape.contains(0) ? 0 : product
    }

    func header() throws(SafetensorsError) -> SafetensorsHeader {
      let sorted = entries.sorted {
        ($0.byteRange.lowerBound, $0.byteRange.upperBound, $0.name)
          < ($1.byteRange.lowerBound, $1.byteRange.upperBound, $1.name)
      }
      var cursor = dataStart
      for entry in sorted {
        let start = entry.byteRange.lowerBound
        if start < cursor { throw .overlap(name: entry.name, offset: start - dataStart) }
        if start > cursor { throw .hole(name: entry.name, bytes: start - cursor) }
        cursor = entry.byteRange.upperBound
      }
      guard cursor == fileBytes else { throw .trailingBytes(count: fileBytes - cursor) }
      return SafetensorsHeader(entries: sorted, metadata: metadata, dataStart: dataStart)
    }
  }
}
