internal import Adapters
internal import HTTPWire
internal import Serving

/// `/v1/models`: tasks as fine-tuned models of the one base.
extension APIHandler {
  func listModels(_ call: Call) async throws(Problem) -> HTTPResponse {
    let errors = FieldCollector()
    let query = call.query(["limit", "after"], errors)
    let limit = query.integer("limit", in: Limits.models) ?? Limits.models.upperBound
    let after = query.name("after")
    try errors.check()
    // The base stands before all tasks: its name begins the first page, and nothing of it is stored.
    let page = try await serving { () throws(ServingError) in
      try await node.tasks(after: after == Names.base ? nil : after, limit: limit)
    }
    return .json(
      JSONWriter.object { writer in
        writer.member("object", "list")
        writer.name("data")
        writer.array { writer in
          if after == nil { writer.baseModel() }
          for task in page.elements where task.isServed { writer.model(task.name, task.createdAt) }
        }
        writer.member("has_more", page.next != nil)
      })
  }

  func getModel(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try ModelName(call.parameters[0])
    if name.isBase {
      if let version = name.version { throw Problem(.notFound(.version, id: "base@\(version)")) }
      return .json { $0.baseModel() }
    }
    let createdAt = try await serving { () throws(ServingError) in
      if let version = name.version { return try await node.version(version, of: name.task).createdAt }
      return try await node.task(name.task).createdAt
    }
    return .json { $0.model(name.text, createdAt) }
  }

  func deleteModel(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try ModelName(call.parameters[0])
    if name.isBase { throw Problem(.inUse, "The base is resident.") }
    try await serving { () throws(ServingError) in
      if let version = name.version {
        try await node.delete(version: version, of: name.task)
      } else {
        try await node.delete(task: name.task)
      }
    }
    return .json { $0.deleted(name.text, object: "model") }
  }
}

extension JSONWriter {
  fileprivate mutating func baseModel() { model(Names.base, nil, parent: nil) }

  /// - Parameter createdAt: RFC 3339; nil: not known.
  fileprivate mutating func model(_ id: String, _ createdAt: String?, parent: String? = Names.base) {
    object { writer in
      writer.member("id", id)
      writer.member("object", "model")
      writer.member("created", createdAt.flatMap(UnixTime.seconds) ?? 0)
      writer.member("owned_by", "corad")
      writer.member("root", Names.base)
      writer.member("parent", parent)
    }
  }

  mutating func deleted(_ id: String, object kind: String) {
    object { writer in
      writer.member("id", id)
      writer.member("object", kind)
      writer.member("deleted", true)
    }
  }
}
