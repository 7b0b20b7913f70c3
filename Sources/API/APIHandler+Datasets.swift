internal import Adapters
internal import HTTPWire
internal import Serving

extension APIHandler {
  func listDatasets(_ call: Call) async throws(Problem) -> HTTPResponse {
    let (limit, after) = try call.page()
    let page = try await serving { () throws(ServingError) in
      try await node.datasets(after: after, limit: limit)
    }
    return .json(JSONWriter.page(page) { $0.dataset($1) })
  }

  func getDataset(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let dataset = try await serving { () throws(ServingError) in
      try await node.dataset(call.parameters[0])
    }
    return .json { $0.dataset(dataset) }
  }

  func deleteDataset(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    try await serving { () throws(ServingError) in try await node.deleteDataset(call.parameters[0]) }
    return HTTPResponse(status: 204)
  }

  func createDataset(_ call: Call) async throws(Problem) -> HTTPResponse {
    let errors = FieldCollector()
    let query = call.query(["name", "kind"], errors)
    let name = query.name("name")
    let kind = query.choice("kind", TaskKind.self)
    if errors.errors.isEmpty {
      if name == nil { errors.add("name", "is missing", allowed: Names.pattern) }
      if kind == nil {
        errors.add(
          "kind", "is missing", allowed: TaskKind.allCases.map(\.rawValue).joined(separator: ", "))
      }
    }
    try errors.check()
    guard let name, let kind else { throw Problem(.validation(errors.errors)) }
    try call.needsBody()
    let mediaType = MediaTypes.ofBody(call.head)
    guard let mediaType, DatasetIngest.mediaTypes.contains(mediaType) else {
      throw Problem(
        .unsupportedMediaType, "The body must be NDJSON or CSV.",
        [("supported", .texts(DatasetIngest.mediaTypes))])
    }
    let upload = try await serving { () throws(ServingError) in
      try await node.beginDataset(name: name, kind: kind, principal: call.principal)
    }
    let dataset: DatasetSummary
    do throws(Problem) {
      // Reading the rows and writing them for the store is work for other threads, however the body is cut.
      dataset = try await offLoop { () async throws(Problem) in
        var ingest = DatasetIngest(
          isCSV: mediaType == MediaTypes.csv, kind: kind, limitBytes: configuration.datasetBytes)
        try await ingest.run(call.request.body, into: upload)
        return try await serving { () throws(ServingError) in try await upload.finish() }
      }
    } catch {
      await upload.abandon()
      throw error
    }
    return .json(status: 201, fields: [location("/datasets/\(dataset.id)")]) { $0.dataset(dataset) }
  }

  /// Where something made can be found.
  func location(_ path: String) -> (String, String) { ("Location", configuration.basePath + path) }
}
