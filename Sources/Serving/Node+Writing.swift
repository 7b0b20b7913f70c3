extension Node {
  public func write(
    _ request: WritingRequest, timeoutMilliseconds: Int?, principal: Principal
  ) async throws(ServingError) -> Writing {
    try await requireServed(request.task, version: request.options.version)
    throw .notImplemented("The base does not write: it is an encoder.")
  }
}
