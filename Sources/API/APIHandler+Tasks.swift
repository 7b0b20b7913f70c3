internal import HTTPWire
internal import Serving

extension APIHandler {
  func listAdapters(_ call: Call) async throws(Problem) -> HTTPResponse {
    let (limit, after) = try call.page()
    let page = try await serving { () throws(ServingError) in
      try await node.tasks(after: after, limit: limit)
    }
    return .json(JSONWriter.page(page) { $0.task($1) })
  }

  func getAdapter(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try call.task()
    let (task, versions) = try await serving { () throws(ServingError) in
      (try await node.task(name), try await node.versions(of: name))
    }
    return .json { $0.task(task, versions: versions) }
  }

  func deleteAdapter(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try call.task()
    try await serving { () throws(ServingError) in try await node.delete(task: name) }
    return HTTPResponse(status: 204)
  }

  func getAdapterVersion(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try call.task()
    let number = try call.version()
    let version = try await serving { () throws(ServingError) in
      try await node.version(number, of: name)
    }
    return .json { $0.version(version) }
  }

  func deleteAdapterVersion(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try call.task()
    let number = try call.version()
    try await serving { () throws(ServingError) in try await node.delete(version: number, of: name) }
    return HTTPResponse(status: 204)
  }

  func activateAdapter(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try call.task()
    let body = try await call.json(limitBytes: Limits.smallBodyBytes) { value throws(Problem) in
      try ActivationBody(value)
    }
    let task = try await serving { () throws(ServingError) in
      try await node.activate(
        task: name, version: body.version, expected: body.expected, principal: call.principal)
    }
    return .json { $0.task(task) }
  }

  func rollbackAdapter(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let name = try call.task()
    try await call.noBody()
    let task = try await serving { () throws(ServingError) in
      try await node.rollback(task: name, principal: call.principal)
    }
    return .json { $0.task(task) }
  }
}

extension Call {
  /// The task in the path; a name that cannot be is a task that is not there.
  fileprivate func task() throws(Problem) -> String {
    let name = parameters[0]
    guard Names.isValid(name) else { throw Problem(.notFound(.task, id: name)) }
    return name
  }
}
