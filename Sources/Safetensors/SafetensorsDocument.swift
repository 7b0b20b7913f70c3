/// A safetensors file held in memory; adapters, subspaces and checkpoints of training are such documents.
public struct SafetensorsDocument: Sendable {
  public let bytes: [UInt8]
  public let header: SafetensorsHeader
  private let positions: [String: Int]

  /// - Throws: what `SafetensorsHeader.parse` throws.
  public init(bytes: [UInt8]) throws(SafetensorsError) {
    self.bytes = bytes
    var parsed: Result<SafetensorsHeader, SafetensorsError> = .failure(.truncated(bytes: bytes.count))
    bytes.withUnsafeBytes { raw in
      do throws(SafetensorsError) {
        parsed = .success(try SafetensorsHeader.parse(raw))
      } catch {
        parsed = .failure(error)
      }
    }
    header = try parsed.get()
    positions = header.positions
  }

  public var metadata: [String: String] { header.metadata }
  public var entries: [TensorEntry] { header.entries }

  /// The tensor of that name, nil when there is none.
  public func entry(_ name: String) -> TensorEntry? { positions[name].map { header.entries[$0] } }

  /// Elements in row-major order, converted from F32, F16, BF16 or F64.
  /// - Throws: `.missing`, or `.notConvertible` for integers and booleans.
  public func floats(_ name: String) throws(SafetensorsError) -> [Float] {
    try read(name) { (bytes, entry) throws(SafetensorsError) in try TensorBytes.floats(bytes, entry) }
  }

  /// Elements of a tensor of signed integers of any width, of bytes or of booleans.
  /// - Throws: `.missing`, or `.notConvertible` for floats and wide unsigned integers.
  public func integers(_ name: String) throws(SafetensorsError) -> [Int] {
    try read(name) { (bytes, entry) throws(SafetensorsError) in try TensorBytes.integers(bytes, entry) }
  }

  private func read<Value>(
    _ name: String,
    _ body: (UnsafeRawBufferPointer, TensorEntry) throws(SafetensorsError) -> Value
  ) throws(SafetensorsError) -> Value {
    guard let entry = entry(name) else { throw .missing(name: name) }
    var result: Result<Value, SafetensorsError> = .failure(.missing(name: name))
    bytes.withUnsafeBytes { raw in
      do throws(SafetensorsError) {
        result = .success(try body(UnsafeRawBufferPointer(rebasing: raw[entry.byteRange]), entry))
      } catch {
        result = .failure(error)
      }
    }
    return try result.get()
  }
}

extension SafetensorsHeader {
  /// Index in `entries` by name.
  var positions: [String: Int] {
    Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.name, $0) })
  }
}
