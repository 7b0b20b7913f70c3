internal import Adapters
internal import HTTPWire
internal import Serving

extension APIHandler {
  func inferAdapter(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let task = call.parameters[0]
    if canWrite, await node.writes(task) { return try await writeAdapter(call) }
    guard let format = MediaTypes.best(of: Self.inferenceTypes, for: call.head) else {
      throw Self.notAcceptable(Self.inferenceTypes)
    }
    let timeout = try call.timeoutMilliseconds()
    let body = try await call.decoded(limitBytes: configuration.inferenceBodyBytes) { bytes throws(Problem) in
      try InferenceBody(bytes)
    }
    guard Names.isValid(task) else { throw Problem(.notFound(.task, id: task)) }
    let result = try await serving { () throws(ServingError) in
      try await node.infer(
        task: task, inputs: body.inputs, options: body.options, timeoutMilliseconds: timeout,
        principal: call.principal)
    }
    if result.isLarge {
      return try await offLoop { () async throws(Problem) in Self.answer(result, task, body, format) }
    }
    return Self.answer(result, task, body, format)
  }

  private static let inferenceTypes = [MediaTypes.json, MediaTypes.octets]

  private static func answer(
    _ result: InferenceResult, _ task: String, _ body: InferenceBody, _ format: String
  ) -> HTTPResponse {
    if format == MediaTypes.octets { return InferenceAnswers.raw(result) }
    return .json(InferenceAnswers.json(result, task: task, topK: body.options.topK, encoding: body.encoding))
  }

  func infer(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    guard MediaTypes.best(of: [MediaTypes.json], for: call.head) != nil else {
      throw Self.notAcceptable([MediaTypes.json])
    }
    let timeout = try call.timeoutMilliseconds()
    let body = try await call.json(limitBytes: configuration.inferenceBodyBytes) { value throws(Problem) in
      try BatchInferenceBody(value)
    }
    let result = try await serving { () throws(ServingError) in
      try await node.infer(
        items: body.items, inputs: body.inputs, timeoutMilliseconds: timeout, principal: call.principal)
    }
    return try await offLoop(if: result.isLarge) { () throws(Problem) in
      .json(InferenceAnswers.json(result, items: body.items, encoding: body.encoding))
    }
  }

  static func notAcceptable(_ supported: [String]) -> Problem {
    Problem(.notAcceptable, nil, [("supported", .texts(supported))])
  }
}

extension InferenceResult {
  /// Whether writing it takes long for a loop.
  fileprivate var isLarge: Bool {
    guard case .embedding(let vector)? = predictions.first else { return count > 256 }
    return vector.count * count > 4_096
  }
}
