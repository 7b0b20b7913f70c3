/// Elements out of little-endian bytes, at any alignment.
enum TensorBytes {
  /// Converts `elements` of a float tensor into `output`, which has room for them.
  /// - Returns: false, with `output` untouched, for element types that are no floats.
  static func convert(
    _ bytes: UnsafeRawBufferPointer, _ type: ElementType, elements: Range<Int>,
    into output: UnsafeMutablePointer<Float>
  ) -> Bool {
    guard let base = bytes.baseAddress, !elements.isEmpty else { return type.isFloat }
    let source = base + elements.lowerBound * type.byteCount
    let count = elements.count
    switch type {
    case .f32:
      UnsafeMutableRawPointer(output).copyMemory(from: source, byteCount: count * 4)
    case .f16:
      for index in 0..<count {
        let bits = source.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)
        output[index] = Float(Float16(bitPattern: bits))
      }
    case .bf16:
      for index in 0..<count {
        let bits = source.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)
        output[index] = Float(bitPattern: UInt32(bits) << 16)
      }
    case .f64:
      for index in 0..<count {
        output[index] = Float(source.loadUnaligned(fromByteOffset: index * 8, as: Double.self))
      }
    default:
      return false
    }
    return true
  }

  static func floats(
    _ bytes: UnsafeRawBufferPointer, _ entry: TensorEntry
  ) throws(SafetensorsError) -> [Float] {
    guard entry.elementType.isFloat else {
      throw .notConvertible(name: entry.name, elementType: entry.elementType)
    }
    return [Float](unsafeUninitializedCapacity: entry.elementCount) { buffer, count in
      if let output = buffer.baseAddress {
        _ = convert(bytes, entry.elementType, elements: 0..<entry.elementCount, into: output)
      }
      count = entry.elementCount
    }
  }

  static func integers(
    _ bytes: UnsafeRawBufferPointer, _ entry: TensorEntry
  ) throws(SafetensorsError) -> [Int] {
    let size = entry.elementType.byteCount
    var result: [Int] = []
    result.reserveCapacity(entry.elementCount)
    for index in 0..<entry.elementCount {
      switch entry.elementType {
      case .i64: result.append(Int(bytes.loadUnaligned(fromByteOffset: index * size, as: Int64.self)))
      case .i32: result.append(Int(bytes.loadUnaligned(fromByteOffset: index * size, as: Int32.self)))
      case .i16: result.append(Int(bytes.loadUnaligned(fromByteOffset: index * size, as: Int16.self)))
      case .i8: result.append(Int(bytes.loadUnaligned(fromByteOffset: index * size, as: Int8.self)))
      case .u8, .bool: result.append(Int(bytes[index]))
      default: throw .notConvertible(name: entry.name, elementType: entry.elementType)
      }
    }
    return result
  }
}

extension ElementType {
  /// True for the types whose elements become `Float`.
  public var isFloat: Bool {
    switch self {
    case .f64, .f32, .f16, .bf16: true
    default: false
    }
  }
}
