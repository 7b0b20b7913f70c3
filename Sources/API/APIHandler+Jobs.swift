internal import Adapters
internal import Digests
internal import HTTPWire
internal import Serving

extension APIHandler {
  func train(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let key = try TrainingBody.idempotencyKey(call.head)
    let bytes = try await call.body(limitBytes: configuration.trainingBodyBytes)
    // Off the loop whatever the body's size: the rows of a data set that it names are checked too.
    return try await offLoop { () async throws(Problem) in
      let digest = Digest.sha256(of: bytes)
      if let known = try await known(key, digest, call.principal) { return accepted(known) }
      let value = try Call.parse(bytes)
      var kind: TaskKind?
      if let id = TrainingBody.dataset(value) {
        kind = try await serving { () throws(ServingError) in try await node.dataset(id) }.kind
      }
      let request = try TrainingBody.request(
        value, on: node.base, datasetKind: kind, idempotencyKey: key, digest: digest)
      let job = try await serving { () throws(ServingError) in
        try await node.train(request, principal: call.principal)
      }
      return accepted(job)
    }
  }

  /// The job that the same request was given before: looked for first, since what the request names may be gone.
  func known(
    _ key: String?, _ digest: Digest, _ principal: Principal
  ) async throws(Problem) -> JobSummary? {
    guard let key else { return nil }
    return try await serving { () throws(ServingError) in
      try await node.accepted(under: key, requestDigest: digest.description, principal: principal)
    }
  }

  func createSubspace(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let request = try await call.json(limitBytes: Limits.smallBodyBytes) { value throws(Problem) in
      try SubspaceBody.request(value)
    }
    // Off the loop: the versions that it is to grow from are read.
    return try await offLoop { () async throws(Problem) in
      let job = try await serving { () throws(ServingError) in
        try await node.makeSubspace(request, principal: call.principal)
      }
      return accepted(job)
    }
  }

  private func accepted(_ job: JobSummary) -> HTTPResponse {
    .json(status: 202, fields: [location("/jobs/\(job.id)")]) { $0.job(job) }
  }

  func listSubspaces(_ call: Call) async throws(Problem) -> HTTPResponse {
    let (limit, after) = try call.page()
    let page = try await serving { () throws(ServingError) in
      try await node.subspaces(after: after, limit: limit)
    }
    return .json(JSONWriter.page(page) { $0.subspace($1, withSites: false) })
  }

  func getSubspace(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    // Off the loop: B is read and checked.
    return try await offLoop { () async throws(Problem) in
      let subspace = try await serving { () throws(ServingError) in
        try await node.subspace(call.parameters[0])
      }
      return .json { $0.subspace(subspace, withSites: true) }
    }
  }

  func listJobs(_ call: Call) async throws(Problem) -> HTTPResponse {
    let errors = FieldCollector()
    let query = call.query(["limit", "after", "state", "task"], errors)
    let limit = query.integer("limit", in: Limits.page) ?? Limits.pageDefault
    let after = query.name("after")
    let state = query.choice("state", JobState.self)
    let task = query.name("task")
    try errors.check()
    let page = try await serving { () throws(ServingError) in
      try await node.jobs(type: nil, state: state, task: task, after: after, limit: limit)
    }
    return .json(JSONWriter.page(page) { $0.job($1) })
  }

  func getJob(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let job = try await serving { () throws(ServingError) in try await node.job(call.parameters[0]) }
    return .json { $0.job(job) }
  }

  func moveJob(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    try await call.noBody()
    let id = call.parameters[0]
    let job = try await serving { () throws(ServingError) in
      switch call.operation {
      case .cancelJob: try await node.cancel(job: id)
      case .pauseJob: try await node.pause(job: id)
      default: try await node.resume(job: id)
      }
    }
    return .json { $0.job(job) }
  }
}
