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
    let result = try await serving { () throws(ServingError) in
      try await node.infer(
        task: model.task, of: .embedding, taskPointer: "/model", inputs: body.inputs, options: options,
        timeoutMilliseconds: timeout, principal: call.principal)
    }
    let version = result.source(0).version
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
          writer.member("model", ModelName(task: model.task, version: version).text)
          writer.name("usage")
          writer.object {
            $0.member("prompt_tokens", result.tokens)
            $0.member("total_tokens", result.tokens)
          }
        })
    }
  }
}
