/// The element types of the format that we name; others (packed and 8-bit floats) are refused.
public enum ElementType: String, Sendable, CaseIterable {
  case f64 = "F64"
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  case i64 = "I64"
  case i32 = "I32"
  case i16 = "I16"
  case i8 = "I8"
  case u64 = "U64"
  case u32 = "U32"
  case u16 = "U16"
  case u8 = "U8"
  case bool = "BOOL"

  /// Bytes of one element.
  public var byteCount: Int {
    switch self {
    case .f64, .i64, .u64: 8
    case .f32, .i32, .u32: 4
    case .f16, .bf16, .i16, .u16: 2
    case .i8, .u8, .bool: 1
    }
  }
}

/// One tensor of a file.
public struct TensorEntry: Sendable, Equatable {
  public let name: String
  public let elementType: ElementType
  /// Row-major, empty for a scalar.
  public let shape: [Int]
  /// Bytes from the start of the file.
  public let byteRange: Range<Int>

  public init(name: String, elementType: ElementType, shape: [Int], byteRange: Range<Int>) {
    self.name = name
    self.elementType = elementType
    self.shape = shape
    self.byteRange = byteRange
  }

  public var elementCount: Int { byteRange.count / elementType.byteCount }
}
