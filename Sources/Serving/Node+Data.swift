public import Adapters
internal import Foundation
internal import Store
internal import Training

extension Node {
  public func beginDataset(
    name: String, kind: TaskKind, principal: Principal
  ) async throws(ServingError) -> any DatasetUpload {
    try requireOpen()
    let id = try await stored { () throws(StoreError) in
      try await store.beginDataset(name: name, kind: kind.rawValue, isInline: false, by: principal.name)
    }
    return StoredUpload(id: id, kind: kind, store: store)
  }

  public func datasets(after: String?, limit: Int) async throws(ServingError) -> Page<DatasetSummary> {
    let records = try await stored { () throws(StoreError) in
      try await store.datasets(after: after, limit: limit + 1)
    }
    return page(records, limit: limit, key: \.id, Self.summary(_:))
  }

  public func dataset(_ id: String) async throws(ServingError) -> DatasetSummary {
    Self.summary(try await stored { () throws(StoreError) in try await store.dataset(id) })
  }

  public func deleteDataset(_ id: String) async throws(ServingError) {
    try await stored { () throws(StoreError) in try await store.deleteDataset(id) }
  }

  public func rows(of dataset: String, from row: Int) async throws(ServingError) -> DatasetRows {
    let batch = try await stored { () throws(StoreError) in try await store.batch(of: dataset, at: row) }
    guard let batch else { return DatasetRows(rows: [], next: nil) }
    return DatasetRows(rows: try Self.rows(in: batch.bytes, of: dataset), next: batch.next)
  }

  /// All rows of a data set, in order.
  func examples(of dataset: String) async throws(ServingError) -> [TrainingExample] {
    let batches = try await stored { () throws(StoreError) in try await store.rows(of: dataset) }
    var examples: [TrainingExample] = []
    for batch in batches { examples += try Self.rows(in: batch, of: dataset) }
    return examples
  }

  private static func rows(
    in batch: [UInt8], of dataset: String
  ) throws(ServingError) -> [TrainingExample] {
    guard let rows = try? JSONDecoder().decode([TrainingExample].self, from: Data(batch)) else {
      throw .internal(cause: "data set \(dataset) holds rows that do not decode")
    }
    return rows
  }

  static func summary(_ record: DatasetRecord) -> DatasetSummary {
    DatasetSummary(
      id: record.id, name: record.name, kind: TaskKind(rawValue: record.kind) ?? .classification,
      rows: record.rows, bytes: record.byteCount, createdAt: Timestamp.text(record.createdAt),
      createdBy: record.createdBy)
  }
}

/// Rows on their way into the store.
struct StoredUpload: DatasetUpload {
  let id: String
  let kind: TaskKind
  let store: Store

  func append(_ rows: [TrainingExample]) async throws(ServingError) {
    guard !rows.isEmpty else { return }
    if let wrong = rows.firstIndex(where: { $0.kind != kind }) {
      throw .invalidRow(line: wrong + 1, detail: "the row is not of kind \(kind.rawValue)")
    }
    guard let bytes = try? JSONEncoder().encode(rows) else { throw .internal(cause: "rows do not encode") }
    try await stored { () throws(StoreError) in
      try await store.appendRows([UInt8](bytes), count: rows.count, to: id)
    }
  }

  func finish() async throws(ServingError) -> DatasetSummary {
    Node.summary(try await stored { () throws(StoreError) in try await store.completeDataset(id) })
  }

  func abandon() async { try? await store.abandonDataset(id) }
}
