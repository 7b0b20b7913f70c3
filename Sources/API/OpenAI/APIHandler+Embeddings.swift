internal import Adapters
internal import HTTPWire
internal import Serving

extension APIHandler {
  func createEmbeddings(_ call: Call) async throws(Problem) -> HTTPResponse {
    try call.noQuery()
    let timeout = try call.timeoutMilliseconds()
    let width = node.base.width
    let body = try await call.json(limitBytes: configuration.inferenceBodyBytes) { value throws(Problem) in
      try EmbeddingsBody(value, width: width)
    }
    let model = try ModelName(body.model)
    var options = InferenceOptions()
    options.version = model.version
    let result: InferenceResult
    do throws(ServingError) {
      result = try await node.infer(
        task: model.task, inputs: body.inputs, options: options, timeoutMilliseconds: timeout,
        principal: call.principal)
    } catch {
      throw Problem(error.naming("/model", for: "task"))
    }
    let source = result.source(0)
    guard source.kind == .embedding else {
      throw Problem(
        .validation([
          FieldError(
            "/model", "is of kind \(source.kind.rawValue)", allowed: "base and tasks of kind embedding")
        ]))
    }
    return try await offLoop(if: result.count * width > 4_096) { () throws(Problem) in
      .json(
        JSONWriter.object { writer in
          writer.member("object", "list")
          writer.name("data")
          writer.array(result.predictions.enumerated()) { writer, row in
            writer.object {
              $0.member("object", "embedding")
              $0.member("index", row.offset)
              $0.name("embedding")
              InferenceAnswers.embedding(&$0, row.element, body.encoding)
            }
          }
          writer.member("model", ModelName(task: model.task, version: source.version).text)
          writer.name("usage")
          writer.object {
            $0.member("prompt_tokens", result.tokens)
            $0.member("total_tokens", result.tokens)
          }
        })
    }
  }
}

extension ServingError {
  /// The same of a request that calls a field by another name.
  fileprivate func naming(_ pointer: String, for field: String) -> ServingError {
    guard case .validation(let errors) = self else { return self }
    return .validation(
      errors.map { $0.pointer == field ? FieldError(pointer, $0.detail, allowed: $0.allowed) : $0 })
  }
}
