internal import Adapters
internal import HTTPWire
internal import Serving
internal import Training

/// A body's bytes into rows, and rows into the store, a batch at a time.
struct DatasetIngest {
  private enum Format {
    case ndjson(NDJSONRows)
    case csv(CSVRows)
  }

  static let mediaTypes = [MediaTypes.ndjson, MediaTypes.csv]

  private var format: Format
  private let limitBytes: Int
  private var rows: [TrainingExample] = []
  private var batchBytes = 0
  private var total = 0
  private var isEmpty = true

  init(isCSV: Bool, kind: TaskKind, limitBytes: Int) {
    format = isCSV ? .csv(CSVRows(kind: kind)) : .ndjson(NDJSONRows(kind: kind))
    self.limitBytes = limitBytes
  }

  /// All of the body; the upload stays open, neither finished nor abandoned.
  mutating func run(_ body: HTTPBody, into upload: any DatasetUpload) async throws(Problem) {
    if let length = body.declaredLength, length > limitBytes {
      throw Problem(WireError.bodyTooLarge(limitBytes: limitBytes))
    }
    while let bytes = try await body.piece() { try await take(bytes, into: upload) }
    try await finish(upload)
  }

  /// The next bytes of the rows.
  mutating func take(_ bytes: [UInt8], into upload: any DatasetUpload) async throws(Problem) {
    total += bytes.count
    if total > limitBytes { throw Problem(WireError.bodyTooLarge(limitBytes: limitBytes)) }
    batchBytes += bytes.count
    do throws(ServingError) {
      try receive(bytes)
      if rows.count >= Limits.rowBatch || batchBytes >= Limits.rowBatchBytes { try await flush(upload) }
    } catch {
      throw Problem(error)
    }
  }

  /// The rows have ended.
  mutating func finish(_ upload: any DatasetUpload) async throws(Problem) {
    do throws(ServingError) {
      try finishRows()
      try await flush(upload)
    } catch {
      throw Problem(error)
    }
    if isEmpty { throw Problem(.validation([FieldError("", "holds no row")])) }
  }

  private mutating func receive(_ bytes: [UInt8]) throws(ServingError) {
    switch format {
    case .ndjson(var reader):
      defer { format = .ndjson(reader) }
      try reader.receive(bytes, into: &rows)
    case .csv(var reader):
      defer { format = .csv(reader) }
      try reader.receive(bytes, into: &rows)
    }
  }

  private mutating func finishRows() throws(ServingError) {
    switch format {
    case .ndjson(var reader): try reader.finish(into: &rows)
    case .csv(var reader): try reader.finish(into: &rows)
    }
  }

  private mutating func flush(_ upload: any DatasetUpload) async throws(ServingError) {
    guard !rows.isEmpty else { return }
    isEmpty = false
    try await upload.append(rows)
    rows.removeAll(keepingCapacity: true)
    batchBytes = 0
  }
}

extension HTTPBody {
  /// The next piece of the body, nil at the end.
  func piece() async throws(Problem) -> [UInt8]? {
    do throws(WireError) {
      return try await next()
    } catch {
      throw Problem(error)
    }
  }
}
