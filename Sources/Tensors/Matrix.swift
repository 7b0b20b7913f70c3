/// A row-major float32 matrix as a value: parameters and other things that outlive a batch.
public struct Matrix: Sendable, Equatable {
  public let rows: Int
  public let columns: Int
  /// `rows * columns` values, row after row.
  public var values: [Float]

  /// Requires `values.count == rows * columns`.
  public init(rows: Int, columns: Int, values: [Float]) {
    precondition(
      rows >= 0 && columns >= 0 && values.count == rows * columns, "matrix: values do not fill its shape")
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// A matrix of zeros.
  public init(zeros rows: Int, _ columns: Int) {
    self.init(rows: rows, columns: columns, values: [Float](repeating: 0, count: rows * columns))
  }

  /// A copy of what a view shows.
  public init(_ view: MatrixView) {
    var values: [Float] = []
    values.reserveCapacity(view.rows * view.columns)
    for row in 0..<view.rows {
      values.append(contentsOf: UnsafeBufferPointer(start: view.row(row), count: view.columns))
    }
    self.init(rows: view.rows, columns: view.columns, values: values)
  }

  public subscript(row: Int, column: Int) -> Float {
    get {
      precondition(column >= 0 && column < columns, "matrix: column out of range")
      return values[row * columns + column]
    }
    set {
      precondition(column >= 0 && column < columns, "matrix: column out of range")
      values[row * columns + column] = newValue
    }
  }

  /// Lends the values as a view that must only be read, for the length of `body`.
  public func withView<R, E: Error>(_ body: (MatrixView) throws(E) -> R) throws(E) -> R {
    try values.withUnsafeBufferPointer { (buffer) throws(E) -> R in
      try body(MatrixView(borrowing: buffer, rows: rows, columns: columns))
    }
  }

  /// Lends the values as a view to write through, for the length of `body`.
  public mutating func withMutableView<R, E: Error>(_ body: (MatrixView) throws(E) -> R) throws(E) -> R {
    let (rows, columns) = (rows, columns)
    return try values.withUnsafeMutableBufferPointer { (buffer) throws(E) -> R in
      try body(MatrixView(borrowing: UnsafeBufferPointer(buffer), rows: rows, columns: columns))
    }
  }
}

/// A row-major float32 matrix somewhere in memory that it does not own: whoever made the view keeps the
/// memory alive. Not Sendable.
public struct MatrixView {
  public let base: UnsafeMutablePointer<Float>
  public let rows: Int
  public let columns: Int
  /// Elements from one row's first value to the next row's.
  public let stride: Int

  /// Requires `stride >= columns`; `base` has `(rows - 1) * stride + columns` elements.
  public init(base: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int) {
    precondition(rows >= 0 && columns >= 0 && stride >= columns, "view: shape")
    self.base = base
    self.rows = rows
    self.columns = columns
    self.stride = stride
  }

  /// A view of a dense buffer; an empty buffer gives a view of an address that is never touched.
  init(borrowing buffer: UnsafeBufferPointer<Float>, rows: Int, columns: Int) {
    let base = buffer.baseAddress.map { UnsafeMutablePointer(mutating: $0) } ?? Self.nowhere
    self.init(base: base, rows: rows, columns: columns, stride: columns)
  }

  private static var nowhere: UnsafeMutablePointer<Float> {
    UnsafeMutablePointer(bitPattern: MemoryLayout<Float>.alignment).unsafelyUnwrapped
  }

  /// The same memory, some rows of it.
  public func rows(_ range: Range<Int>) -> MatrixView {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "view: rows out of range")
    return MatrixView(
      base: base + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
  }

  /// The same memory, some columns of it.
  public func columns(_ range: Range<Int>) -> MatrixView {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns, "view: columns out of range")
    return MatrixView(base: base + range.lowerBound, rows: rows, columns: range.count, stride: stride)
  }

  /// The first value of a row.
  public func row(_ index: Int) -> UnsafeMutablePointer<Float> {
    precondition(index >= 0 && index < rows, "view: row out of range")
    return base + index * stride
  }

  public subscript(row: Int, column: Int) -> Float {
    get {
      precondition(column >= 0 && column < columns, "view: column out of range")
      return self.row(row)[column]
    }
    nonmutating set {
      precondition(column >= 0 && column < columns, "view: column out of range")
      self.row(row)[column] = newValue
    }
  }

  /// Sets every value.
  public func fill(_ value: Float) {
    for index in 0..<rows { row(index).update(repeating: value, count: columns) }
  }

  /// Copies the values of another view of the same shape; the two must not overlap.
  public func copy(from other: MatrixView) {
    precondition(other.rows == rows && other.columns == columns, "view: copy between different shapes")
    for index in 0..<rows { row(index).update(from: other.row(index), count: columns) }
  }
}
