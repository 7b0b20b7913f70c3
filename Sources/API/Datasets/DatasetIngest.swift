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
    while let bytes = try await Self.next(body) {
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
    do throws(ServingError) {
      try finishRows()
      try await flush(upload)
    } catch {
      throw Problem(error)
    }
    if isEmpty { throw Problem(.validation([FieldError("", "holds no row")])) }
  }

  private static func next(_ body: HTTPBody) async throws(Problem) -> [UInt8]? {
    do throws(WireError) {
      return try await body.next()
    } catch {
      throw Problem(error)
    }
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
