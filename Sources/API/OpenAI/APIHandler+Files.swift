internal import Adapters
internal import HTTPWire
internal import Serving

/// `/v1/files`: data sets by their OpenAI name.
extension APIHandler {
  func listFiles(_ call: Call) async throws(Problem) -> HTTPResponse {
    let errors = FieldCollector()
    let query = call.query(["limit", "after", "purpose", "order"], errors)
    let limit = query.integer("limit", in: Limits.openAIPage) ?? Limits.openAIPage.upperBound
    let after = query.name("after")
    let purpose = query.name("purpose") ?? FileUpload.purpose
    if let order = query.string("order"), order != "desc" {
      errors.add("order", "is not supported", allowed: "desc")
    }
    try errors.check()
    // Files of other purposes are never made.
    if purpose != FileUpload.purpose {
      return .json(JSONWriter.list(Page<DatasetSummary>(elements: [], next: nil), id: \.id) { _, _ in })
    }
    let page = try await serving { () throws(ServingError) in
      try await node.datasets(after: after, limit: limit)
    }
    return .json(JSONWriter.list(page, id: \.id) { $0.file($1) })
  }

  func getFile(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let dataset = try await serving { () throws(ServingError) in
      try await node.dataset(call.parameters[0])
    }
    return .json { $0.file(dataset) }
  }

  func deleteFile(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let id = call.parameters[0]
    try await serving { () throws(ServingError) in try await node.deleteDataset(id) }
    return .json { $0.deleted(id, object: "file") }
  }

  /// The rows as they were read, not the bytes that were sent.
  func getFileContent(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let id = call.parameters[0]
    let first = try await lines(of: id, from: 0)
    return .stream([("Content-Type", MediaTypes.ndjson)]) { writer in
      var (lines, next) = first
      while true {
        if !lines.isEmpty { try await writer.write(lines) }
        guard let row = next else { return }
        (lines, next) = try await self.lines(of: id, from: row)
      }
    }
  }

  /// The rows that are stored together from one on, read and written off the loop, and the first one behind them.
  private func lines(of id: String, from row: Int) async throws(Problem) -> (lines: [UInt8], next: Int?) {
    try await offLoop { () async throws(Problem) in
      let rows = try await serving { () throws(ServingError) in try await node.rows(of: id, from: row) }
      return (FileRows.lines(rows.rows), rows.next)
    }
  }

  func createFile(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    try call.needsBody()
    guard MediaTypes.ofBody(call.head) == MediaTypes.form else {
      throw Problem(
        .unsupportedMediaType, "The body must be a form.", [("supported", .texts([MediaTypes.form]))])
    }
    guard let boundary = MultipartParser.boundary(of: call.head.fields.single("content-type") ?? "") else {
      throw Problem(.malformedRequest, "Content-Type has no valid boundary.", [("offset", .number(0))])
    }
    // Reading the rows and writing them for the store is work for other threads, however the body is cut.
    let dataset = try await offLoop { () async throws(Problem) in
      var form = FileUpload(
        boundary: boundary, limitBytes: configuration.datasetBytes, node: node, principal: call.principal)
      do throws(Problem) {
        try await form.run(call.request.body)
        guard let upload = form.upload else {
          throw Problem(.validation([FieldError("file", "holds no row")]))
        }
        return try await serving { () throws(ServingError) in try await upload.finish() }
      } catch {
        await form.upload?.abandon()
        throw error
      }
    }
    return .json { $0.file(dataset) }
  }
}

extension JSONWriter {
  /// One page of a list as OpenAI writes it.
  static func list<Element>(
    _ page: Page<Element>, id: (Element) -> String, _ body: (inout JSONWriter, Element) -> Void
  ) -> [UInt8] {
    object { writer in
      writer.member("object", "list")
      writer.name("data")
      writer.array(page.elements, body)
      writer.member("first_id", page.elements.first.map(id))
      writer.member("last_id", page.elements.last.map(id))
      writer.member("has_more", page.next != nil)
    }
  }

  fileprivate mutating func file(_ dataset: DatasetSummary) {
    object { writer in
      writer.member("id", dataset.id)
      writer.member("object", "file")
      writer.member("bytes", dataset.bytes)
      writer.member("created_at", UnixTime.seconds(dataset.createdAt))
      writer.member("filename", dataset.name)
      writer.member("purpose", FileUpload.purpose)
      writer.member("status", "processed")
      writer.member("rows", dataset.rows)
      writer.member("kind", dataset.kind.rawValue)
    }
  }
}
