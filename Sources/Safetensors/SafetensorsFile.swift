#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A safetensors file mapped read-only: opening costs the header, a tensor costs its pages when it is read.
///
/// - Note: who truncates the file while it is mapped kills the process at the next read of a lost page (SIGBUS);
///   replace a checkpoint by renaming a new file over it.
// SAFETY: the mapping is read-only, never moved, and unmapped by deinit alone, after the last reference.
public final class SafetensorsFile: @unchecked Sendable {
  public let path: String
  public let header: SafetensorsHeader
  private let mapping: UnsafeMutableRawPointer
  private let byteCount: Int
  private let positions: [String: Int]

  /// - Throws: `.unreadable` when the path is no readable regular file, else what the header's parser throws.
  public init(path: String) throws(SafetensorsError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .unreadable(path: path, code: errno) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .unreadable(path: path, code: EINVAL) }
    let size = Int(status.st_size)
    guard size >= 8 else { throw .truncated(bytes: size) }
    guard let mapped = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), mapped != MAP_FAILED else {
      throw .unreadable(path: path, code: errno)
    }
    do throws(SafetensorsError) {
      header = try SafetensorsHeader.parse(UnsafeRawBufferPointer(start: mapped, count: size))
    } catch {
      munmap(mapped, size)
      throw error
    }
    self.path = path
    mapping = mapped
    byteCount = size
    positions = header.positions
  }

  deinit { munmap(mapping, byteCount) }

  public var entries: [TensorEntry] { header.entries }
  public var metadata: [String: String] { header.metadata }

  /// The tensor of that name, nil when there is none.
  public func entry(_ name: String) -> TensorEntry? { positions[name].map { header.entries[$0] } }

  /// Elements in row-major order, converted from F32, F16, BF16 or F64.
  /// - Throws: `.missing`, or `.notConvertible` for integers and booleans.
  public func floats(_ name: String) throws(SafetensorsError) -> [Float] {
    guard let entry = entry(name) else { throw .missing(name: name) }
    return try TensorBytes.floats(bytes(of: entry), entry)
  }

  /// Converts some elements of a float tensor into `output`, straight from the mapping.
  /// - Parameters:
  ///   - entry: an entry of this file with a float element type.
  ///   - elements: inside the tensor, counted in elements.
  ///   - output: room for `elements.count` floats; overwritten.
  public func copyFloats(
    of entry: TensorEntry, elements: Range<Int>, into output: UnsafeMutablePointer<Float>
  ) {
    precondition(
      elements.lowerBound >= 0 && elements.upperBound <= entry.elementCount,
      "elements lie outside \(entry.name)")
    let converted = TensorBytes.convert(
      bytes(of: entry), entry.elementType, elements: elements, into: output)
    precondition(converted, "\(entry.name) holds no floats")
  }

  /// Lends the tensor's bytes as they lie in the file; alignment is the file's.
  public func withBytes<Value, Failure: Error>(
    of entry: TensorEntry, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
  ) throws(Failure) -> Value {
    try body(bytes(of: entry))
  }

  /// Lends the whole file, for a digest.
  public func withFileBytes<Value, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Value
  ) throws(Failure) -> Value {
    try body(UnsafeRawBufferPointer(start: mapping, count: byteCount))
  }

  /// Gives a tensor's resident pages back to the system; a later read brings them in again.
  ///
  /// A page shared with a neighbour goes too, which costs that neighbour one fault and nothing else.
  public func releasePages(of entry: TensorEntry) { release(entry.byteRange) }

  /// Gives every resident page back.
  public func releaseAllPages() { release(0..<byteCount) }

  private func release(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = range.lowerBound / page * page
    // Advice: a failure leaves the pages where they are, which harms nothing.
    _ = madvise(mapping + start, range.upperBound - start, MADV_DONTNEED)
  }

  private func bytes(of entry: TensorEntry) -> UnsafeRawBufferPointer {
    precondition(
      entry.byteRange.lowerBound >= header.dataStart && entry.byteRange.upperBound <= byteCount,
      "\(entry.name) is no tensor of this file")
    return UnsafeRawBufferPointer(
      start: mapping + entry.byteRange.lowerBound, count: entry.byteRange.count)
  }
}
