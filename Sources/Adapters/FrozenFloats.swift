public import Tensors

/// Floats that are written once and then only read, by any number of lanes: resident coefficients and heads, a
/// training step's parameters.
// SAFETY: FrozenFloats owns the memory · written in `init` alone, read-only afterwards, freed in `deinit`.
public final class FrozenFloats: @unchecked Sendable {
  /// Floats behind the last one that may be read, so that a kernel's last vector is whole.
  private static let slack = 15

  public let count: Int
  private let memory: UnsafeMutablePointer<Float>

  /// `fill` writes all `count` floats; they are zero before.
  public init(count: Int, fill: (UnsafeMutablePointer<Float>) -> Void) {
    self.count = count
    let capacity = count + Self.slack
    let raw = UnsafeMutableRawPointer.allocate(
      byteCount: capacity * MemoryLayout<Float>.stride, alignment: 64)
    memory = raw.bindMemory(to: Float.self, capacity: capacity)
    memory.initialize(repeating: 0, count: capacity)
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
  /// - Parameter stride: floats from row to row; nil for `columns`.
  public func matrix(at offset: Int, rows: Int, columns: Int, stride: Int? = nil) -> MatrixView {
    let stride = stride ?? columns
    let end = offset + (rows - 1) * stride + columns
    precondition(offset >= 0 && rows > 0 && end <= count, "frozen floats: out of range")
    return MatrixView(base: memory + offset, rows: rows, columns: columns, stride: stride)
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
