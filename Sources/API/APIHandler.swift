internal import Digests
public import HTTPWire
public import Logging
internal import Models
public import Serving

/// The daemon's HTTP surface: routes requests to the node and renders what it says. Holds no state of its own.
public struct APIHandler: HTTPHandler {
  let node: any ServingNode
  let configuration: APIConfiguration
  let log: Logger
  let metrics: @Sendable () -> [MetricSample]
  /// Whether the base continues texts: an encoder's tasks need not be asked.
  let canWrite: Bool
  private let contract: ContractDocument
  private let router: Router

  /// - Parameters:
  ///   - openAPIYAML: the text of `openapi.yaml`, served as it is and as JSON.
  ///   - metrics: further figures for `GET /metrics`.
  public init(
    node: any ServingNode, configuration: APIConfiguration, log: Logger, openAPIYAML: String,
    metrics: @escaping @Sendable () -> [MetricSample] = { [] }
  ) {
    self.node = node
    self.configuration = configuration
    self.log = log
    self.metrics = metrics
    canWrite = node.base.family == .decoder
    contract = ContractDocument(yaml: openAPIYAML)
    router = Router(basePath: configuration.basePath)
  }

  public func respond(to request: HTTPRequest) async -> HTTPResponse {
    let requestID = RequestID.of(request.head)
    var response: HTTPResponse
    do throws(Problem) {
      response = try await answer(request, requestID)
    } catch {
      report(error, requestID)
      response = isOpenAI(request.head) ? error.openAIResponse() : error.response(requestID: requestID)
    }
    response.fields.append(("X-Request-Id", requestID))
    log.debug(
      "request",
      metadata: [
        "request_id": "\(requestID)", "method": "\(request.head.method)", "status": "\(response.status)",
        "peer": "\(ClientAddress.of(request, trusted: configuration.trustedProxies))",
      ])
    return response
  }

  public func response(for error: WireError) -> HTTPResponse {
    let requestID = RequestID.make()
    var response = Problem(error).response(requestID: requestID)
    response.fields.append(("X-Request-Id", requestID))
    return response
  }

  /// Whether the path is one of OpenAI's, whose errors have another form.
  private func isOpenAI(_ head: HTTPRequestHead) -> Bool {
    head.rawPath.hasPrefix(configuration.basePath + "/v1/")
  }

  /// Causes go to the log and nowhere else.
  func report(_ problem: Problem, _ requestID: String) {
    guard let cause = problem.cause else { return }
    log.error(
      "request failed",
      metadata: ["request_id": "\(requestID)", "code": "\(problem.code.rawValue)", "cause": "\(cause)"])
  }

  private func answer(_ request: HTTPRequest, _ requestID: String) async throws(Problem) -> HTTPResponse {
    let match = router.match(request.head)
    if case .found(let operation, _) = match, !operation.needsKey {
      return try await probe(operation)
    }
    let principal = try authorised(request.head)
    switch match {
    case .nothing: throw Problem(.notFound)
    case .wrongMethod(let allowed):
      throw Problem(
        .methodNotAllowed, nil, [("allowed", .texts(allowed))],
        fields: [("Allow", allowed.joined(separator: ", "))])
    case .found(let operation, let parameters):
      return try await run(
        Call(
          request: request, operation: operation, parameters: parameters, principal: principal,
          requestID: requestID))
    }
  }

  private func authorised(_ head: HTTPRequestHead) throws(Problem) -> Principal {
    guard let expected = configuration.apiKey else { return .anonymous }
    let parts = head.fields.single("authorization")?.split(separator: " ", omittingEmptySubsequences: true)
    guard let parts, parts.count == 2, parts[0].lowercased() == "bearer",
      constantTimeEquals(Digest.sha256(of: String(parts[1])).bytes, expected.bytes)
    else {
      throw Problem(.unauthorized, fields: [("WWW-Authenticate", "Bearer realm=\"corad\"")])
    }
    return Principal(name: "api-key")
  }

  private func run(_ call: Call) async throws(Problem) -> HTTPResponse {
    switch call.operation {
    case .getLivez, .getReadyz: try await probe(call.operation)
    case .getMetrics, .getContract, .getContractJSON, .getBase: try await about(call)
    case .listSubspaces: try await listSubspaces(call)
    case .createSubspace: try await createSubspace(call)
    case .getSubspace: try await getSubspace(call)
    case .listAdapters: try await listAdapters(call)
    case .getAdapter: try await getAdapter(call)
    case .deleteAdapter: try await deleteAdapter(call)
    case .getAdapterVersion: try await getAdapterVersion(call)
    case .deleteAdapterVersion: try await deleteAdapterVersion(call)
    case .inferAdapter: try await inferAdapter(call)
    case .activateAdapter: try await activateAdapter(call)
    case .rollbackAdapter: try await rollbackAdapter(call)
    case .infer: try await infer(call)
    case .listDatasets: try await listDatasets(call)
    case .createDataset: try await createDataset(call)
    case .getDataset: try await getDataset(call)
    case .deleteDataset: try await deleteDataset(call)
    case .train: try await train(call)
    case .listJobs: try await listJobs(call)
    case .getJob: try await getJob(call)
    case .getJobEvents: try await getJobEvents(call)
    case .cancelJob, .pauseJob, .resumeJob: try await moveJob(call)
    case .listModels: try await listModels(call)
    case .getModel: try await getModel(call)
    case .deleteModel: try await deleteModel(call)
    case .createCompletion: try await createCompletion(call)
    case .createChatCompletion: try await createChatCompletion(call)
    case .createEmbeddings: try await createEmbeddings(call)
    case .listFiles: try await listFiles(call)
    case .createFile: try await createFile(call)
    case .getFile: try await getFile(call)
    case .getFileContent: try await getFileContent(call)
    case .deleteFile: try await deleteFile(call)
    case .listFineTuningJobs: try await listFineTuningJobs(call)
    case .createFineTuningJob: try await createFineTuningJob(call)
    case .getFineTuningJob: try await getFineTuningJob(call)
    case .listFineTuningEvents: try await listFineTuningEvents(call)
    case .listFineTuningCheckpoints: try await listFineTuningCheckpoints(call)
    case .cancelFineTuningJob, .pauseFineTuningJob, .resumeFineTuningJob: try await moveFineTuningJob(call)
    }
  }

  private func probe(_ operation: Endpoint) async throws(Problem) -> HTTPResponse {
    if operation == .getLivez { return .json(Self.alive) }
    let readiness = await node.readiness()
    guard readiness.isReady else { throw Problem(.notReady(readiness.reasons)) }
    return .json(Self.ready)
  }

  private static let alive = Array(#"{"status":"alive"}"#.utf8)
  private static let ready = Array(#"{"status":"ready"}"#.utf8)

  private func about(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    switch call.operation {
    case .getMetrics:
      let bytes = PrometheusText.bytes(await node.metrics(), metrics())
      return HTTPResponse(
        status: 200, fields: [("Content-Type", PrometheusText.contentType)], body: .bytes(bytes))
    case .getContract:
      return HTTPResponse(
        status: 200, fields: [("Content-Type", "application/yaml")], body: .bytes(contract.yaml))
    case .getContractJSON: return .json(try await contract.json())
    default:
      var writer = JSONWriter()
      writer.base(node.base)
      return .json(writer.bytes)
    }
  }
}

extension HTTPResponse {
  static func json(
    _ bytes: [UInt8], status: Int = 200, fields: [(String, String)] = []
  ) -> HTTPResponse {
    var all: [(String, String)] = []
    // One more for the request's id.
    all.reserveCapacity(fields.count + 2)
    all.append(("Content-Type", MediaTypes.json))
    all.append(contentsOf: fields)
    return HTTPResponse(status: status, fields: all, body: .bytes(bytes))
  }

  static func json(
    status: Int = 200, fields: [(String, String)] = [], _ body: (inout JSONWriter) -> Void
  ) -> HTTPResponse {
    var writer = JSONWriter()
    body(&writer)
    return .json(writer.bytes, status: status, fields: fields)
  }
}

extension Call {
  func noQuery() throws(Problem) {
    if !head.hasQuery { return }
    let errors = FieldCollector()
    _ = query([], errors)
    try errors.check()
  }

  /// `limit` and `after`.
  func page() throws(Problem) -> (limit: Int, after: String?) {
    let errors = FieldCollector()
    let query = query(["limit", "after"], errors)
    let page = (query.integer("limit", in: Limits.page) ?? Limits.pageDefault, query.name("after"))
    try errors.check()
    return page
  }
}

/// Calls the node and turns its errors into problems.
func serving<Value>(
  _ body: () async throws(ServingError) -> Value
) async throws(Problem) -> Value {
  do throws(ServingError) {
    return try await body()
  } catch {
    throw Problem(error)
  }
}
