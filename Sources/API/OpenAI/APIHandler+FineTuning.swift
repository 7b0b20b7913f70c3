internal import Digests
internal import HTTPWire
internal import Serving

/// `/v1/fine_tuning/jobs`: training jobs by their OpenAI name.
extension APIHandler {
  func createFineTuningJob(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let key = try TrainingBody.idempotencyKey(call.head)
    let bytes = try await call.body(limitBytes: Limits.smallBodyBytes)
    // Off the loop: the rows of the file are checked before the job is accepted.
    return try await offLoop { () async throws(Problem) in
      let digest = Digest.sha256(of: bytes)
      if let known = try await known(key, digest, call.principal) {
        return HTTPResponse.json { $0.fineTuningJob(known, on: node.base.family) }
      }
      let body = try FineTuningBody(try Call.parse(bytes))
      let model = try ModelName(body.model)
      let dataset = try await serving { () throws(ServingError) in try await node.dataset(body.file) }
      let request = try body.request(
        dataset, on: node.base, from: try await version(model), idempotencyKey: key, digest: digest)
      do throws(ServingError) {
        let job = try await node.train(request, principal: call.principal)
        return HTTPResponse.json { $0.fineTuningJob(job, on: node.base.family) }
      } catch {
        throw Problem(error).renamed
      }
    }
  }

  /// The version that a model's name stands for now; nil for the base.
  private func version(_ model: ModelName) async throws(Problem) -> (task: String, version: VersionSummary)? {
    if model.isBase {
      if let version = model.version { throw Problem(.notFound(.version, id: "base@\(version)")) }
      return nil
    }
    let version = try await serving { () throws(ServingError) in
      if let version = model.version {
        return try await node.version(version, of: model.task) as VersionSummary?
      }
      return try await node.task(model.task).active
    }
    guard let version else { throw Problem(.notFound(.version, id: model.task)) }
    return (model.task, version)
  }

  func listFineTuningJobs(_ call: Call) async throws(Problem) -> HTTPResponse {
    let (limit, after) = try call.openAIPage()
    let page = try await serving { () throws(ServingError) in
      try await node.jobs(type: .train, state: nil, task: nil, after: after, limit: limit)
    }
    return .json(
      JSONWriter.list(page, id: \.id) { [family = node.base.family] in $0.fineTuningJob($1, on: family) })
  }

  func getFineTuningJob(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let job = try await trainingJob(call.parameters[0])
    return .json { $0.fineTuningJob(job, on: node.base.family) }
  }

  func listFineTuningEvents(_ call: Call) async throws(Problem) -> HTTPResponse {
    let (limit, after) = try call.openAIPage()
    let id = try await trainingJob(call.parameters[0]).id
    let before = try cursor(after, of: id)
    let page = try await serving { () throws(ServingError) in
      try await node.events(of: id, before: before, limit: limit)
    }
    return .json(
      JSONWriter.list(page, id: { FineTuningCursor.text(id, $0.id) }) { $0.fineTuningEvent($1, of: id) })
  }

  func listFineTuningCheckpoints(_ call: Call) async throws(Problem) -> HTTPResponse {
    let (limit, after) = try call.openAIPage()
    let id = try await trainingJob(call.parameters[0]).id
    let before = try cursor(after, of: id) ?? .max
    let all = try await serving { () throws(ServingError) in try await node.checkpoints(of: id) }
      .filter { $0.step < before }
    let shown = Array(all.prefix(limit))
    let cursor = { (checkpoint: JobCheckpoint) in FineTuningCursor.text(id, Int64(checkpoint.step)) }
    let page = Page(elements: shown, next: all.count > limit ? shown.last.map(cursor) : nil)
    return .json(JSONWriter.list(page, id: cursor) { $0.fineTuningCheckpoint($1, of: id) })
  }

  func moveFineTuningJob(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    try await call.noBody()
    let id = try await trainingJob(call.parameters[0]).id
    let job = try await serving { () throws(ServingError) in
      switch call.operation {
      case .cancelFineTuningJob: try await node.cancel(job: id)
      case .pauseFineTuningJob: try await node.pause(job: id)
      default: try await node.resume(job: id)
      }
    }
    return .json { $0.fineTuningJob(job, on: node.base.family) }
  }

  private func cursor(_ after: String?, of job: String) throws(Problem) -> Int64? {
    guard let after else { return nil }
    guard let number = FineTuningCursor.number(after, of: job) else {
      throw Problem(.validation([FieldError("after", "is not of the job", allowed: "\(job)-1")]))
    }
    return number
  }

  /// A job that trains; others are not of this list.
  private func trainingJob(_ id: String) async throws(Problem) -> JobSummary {
    let job = try await serving { () throws(ServingError) in try await node.job(id) }
    guard job.type == .train else { throw Problem(.notFound(.job, id: id)) }
    return job
  }
}

extension Call {
  /// `limit` and `after` as OpenAI's lists take them.
  fileprivate func openAIPage() throws(Problem) -> (limit: Int, after: String?) {
    let errors = FieldCollector()
    let query = query(["limit", "after"], errors)
    let page = (
      query.integer("limit", in: Limits.openAIPage) ?? Limits.openAIPageDefault, query.name("after")
    )
    try errors.check()
    return page
  }
}
