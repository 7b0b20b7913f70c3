public import Tensors

/// Floats that are written once and then only read, by any number of lanes: resident coefficients and heads, a
/// training step's parameters.
// SAFETY: FrozenFloats owns the memory · written in `init` alone, read-only afterwards, freed in `deinit`.
public final class FrozenFloats: @unchecked Sendable {
  public let count: Int
  private let memory: UnsafeMutablePointer<Float>

  /// `fill` writes all `count` floats; they are zero before.
  public init(count: Int, fill: (UnsafeMutablePointer<Float>) -> Void) {
    self.count = count
    let raw = UnsafeMutableRawPointer.allocate(
      byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64)
    memory = raw.bindMemory(to: Float.self, capacity: max(count, 1))
    memory.initialize(repeating: 0, count: max(count, 1))
    fill(memory)
  }

  public convenience init(_ values: [Float]) {
    self.init(count: values.count) { memory in
      for (index, value) in values.enumerated() { memory[index] = value }
    }
  }

  deinit { memory.deallocate() }

  public var bytes: Int { count * MemoryLayout<Float>.stride }

  /// A view to read, valid while this object lives.
  public func matrix(at offset: Int, rows: Int, columns: Int) -> MatrixView {
    precondition(offset >= 0 && offset + rows * columns <= count, "frozen floats: out of range")
    return MatrixView(base: memory + offset, rows: rows, columns: columns, stride: columns)
  }

  /// A pointer to read, valid while this object lives.
  public func pointer(at offset: Int) -> UnsafePointer<Float> {
    precondition(offset >= 0 && offset <= count, "frozen floats: out of range")
    return UnsafePointer(memory + offset)
  }

  /// A copy of `count` values.
  public func values(_ range: Range<Int>) -> [Float] {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "frozen floats: out of range")
    return Array(UnsafeBufferPointer(start: memory + range.lowerBound, count: range.count))
  }
}
